"""The published numbers that runs are set beside."""

from .primitives import Bars, Published, PublishedRow

EXPERIMENTS = "lazytorch.experiments."

SOURCE = (
    "L. Chizat, E. Oyallon, F. Bach, On Lazy Training in Differentiable Programming, NeurIPS 2019, arXiv:1812.07956"
)

DATA = {"data.name": "cifar10", "data.train_size": None, "data.test_size": None}
SCATTERING = "Prior features (scattering; Oyallon & Mallat 2015)"

FIGURE_3A = Published(
    "Figure 3(a) of Chizat, Oyallon & Bach (2019)",
    SOURCE,
    protocol=DATA
    | {"model._target_": "lazytorch.models.vgg11", "model.width": 1.0, "loss": "mse", "batch_size": 128}
    | {"optimizer.lr": 1.0, "optimizer.momentum": 0.9, "epochs": 70},
    text="VGG-11, square loss, alpha = 1 to 10^7, curves without a table of numbers: accuracy falls as alpha grows, "
    "then reaches a plateau; the stability of activations reaches about 100 %; for alpha < 1 training diverges at "
    "learning rate 1.",
)


def _wide(model: str, width: float, alpha: float, lr: float) -> dict:
    return {
        "where": {
            "_target_": f"{EXPERIMENTS}training.Training",
            "model._target_": f"lazytorch.models.{model}",
            "loss": "cross_entropy",
            "alpha": alpha,
        },
        "protocol": {"model.width": width, "optimizer.lr": lr, "optimizer.momentum": 0.9, "batch_size": 8},
    }


FIGURE_3B = Published(
    "Figure 3(b) of Chizat, Oyallon & Bach (2019)",
    SOURCE,
    rows=(
        PublishedRow(
            "ResNet wide, linearized",
            {"train_accuracy": 0.550, "test_accuracy": 0.567},
            **_wide("resnet18", 7.0, 1e7, 1.0),
        ),
        PublishedRow(
            "VGG-11 wide, linearized",
            {"train_accuracy": 0.610, "test_accuracy": 0.617},
            **_wide("vgg11", 8.0, 1e7, 1.0),
        ),
        PublishedRow(
            SCATTERING,
            {"test_accuracy": 0.823},
            where={"_target_": f"{EXPERIMENTS}prior_features.PriorFeatures"},
        ),
        PublishedRow(
            "Random features (Recht et al. 2018, after Coates & Ng)",
            {"test_accuracy": 0.842},
            where={"_target_": f"{EXPERIMENTS}random_features.RandomFeatures"},
        ),
        PublishedRow(
            "VGG-11 wide, standard", {"train_accuracy": 0.999, "test_accuracy": 0.897}, **_wide("vgg11", 8.0, 1.0, 0.01)
        ),
        PublishedRow(
            "ResNet wide, standard",
            {"train_accuracy": 0.994, "test_accuracy": 0.910},
            **_wide("resnet18", 7.0, 1.0, 0.01),
        ),
    ),
    protocol=DATA,
    text="Wide networks, linearized, stay behind prior and random features and far behind standard training.",
)

FIGURE_3B_BARS = Bars(
    "figure3b",
    "test_accuracy",
    FIGURE_3B,
    caption="Test accuracies as published (grey) and of these runs (blue, mean and standard deviation over seeds).",
)

RANDOM_FEATURES = Published(
    "Random features in Figure 3(b) of Chizat, Oyallon & Bach (2019)",
    "B. Recht, R. Roelofs, L. Schmidt, V. Shankar, Do CIFAR-10 Classifiers Generalize to CIFAR-10?, 2018, "
    "arXiv:1806.00451",
    rows=tuple(
        PublishedRow(
            f"Random features, {name} filters",
            {"test_accuracy": accuracy},
            where={"_target_": f"{EXPERIMENTS}random_features.RandomFeatures"},
            protocol={"filters": filters},
        )
        for name, filters, accuracy in (("32k", 32768, 0.833), ("256k", 262144, 0.842))
    ),
    protocol=DATA,
    text="Accuracy grows with the number of filters, and depends on the directions of small variance, which whitening "
    "brings out: at 2k patches its regulariser 1e-3 gives 82.6, 0.1 gives 76.9 and 10 gives 66.7 (after Thiry et al. "
    "2021). JPEG destroys just those directions: images that were recompressed stay below the official ones.",
)

PRIOR_FEATURES = Published(
    "Prior features in figure 3(b) of Chizat, Oyallon & Bach (2019)",
    "E. Oyallon, S. Mallat, Deep Roto-Translation Scattering for Object Classification, CVPR 2015",
    rows=(
        PublishedRow(SCATTERING, {"test_accuracy": 0.823}, where={"classifier": "rbf"}),
        PublishedRow("the same without rotations, order 2", {"test_accuracy": 0.803}, where={"classifier": "rbf"}),
    ),
    protocol=DATA,
    text="The 82.3 % is of a support vector machine with a Gaussian kernel on features selected with the labels from a "
    "roto-translation scattering of images enlarged to 64x64, in luminance and chrominance: linear methods is what the "
    "caption of figure 3(b) calls it, not its source. Neither row is the protocol here, which has the images as they "
    "are, all features, and ridge regression.",
)
