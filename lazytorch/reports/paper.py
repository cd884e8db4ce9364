"""The published numbers that runs are set beside."""

from .primitives import Published, PublishedRow

SOURCE = (
    "L. Chizat, E. Oyallon, F. Bach, On Lazy Training in Differentiable Programming, NeurIPS 2019, arXiv:1812.07956"
)

ALL_IMAGES = {"data.name": "cifar10", "data.train_size": None, "data.test_size": None}
CIFAR10 = ALL_IMAGES | {"optimizer.momentum": 0.9}
SCATTERING = "Prior features (scattering; Oyallon & Mallat 2015)"

FIGURE_3A = Published(
    "Figure 3(a) of Chizat, Oyallon & Bach (2019)",
    SOURCE,
    protocol=CIFAR10
    | {"model._target_": "lazytorch.models.vgg11", "model.width": 1.0, "loss": "mse", "batch_size": 128}
    | {"optimizer.lr": 1.0, "epochs": 70},
    text="VGG-11, square loss, alpha = 1 to 10^7, curves without a table of numbers: accuracy falls as alpha grows, "
    "then reaches a plateau; the stability of activations reaches about 100 %; for alpha < 1 training diverges at "
    "learning rate 1.",
)


def _wide(model: str, width: float, alpha: float, lr: float) -> dict:
    return {
        "where": {"model._target_": f"lazytorch.models.{model}", "alpha": alpha},
        "protocol": {"model.width": width, "optimizer.lr": lr},
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
        PublishedRow(SCATTERING, {"test_accuracy": 0.823}),
        PublishedRow("Random features (Recht et al. 2018, after Coates & Ng)", {"test_accuracy": 0.842}),
        PublishedRow(
            "VGG-11 wide, standard", {"train_accuracy": 0.999, "test_accuracy": 0.897}, **_wide("vgg11", 8.0, 1.0, 0.01)
        ),
        PublishedRow(
            "ResNet wide, standard",
            {"train_accuracy": 0.994, "test_accuracy": 0.910},
            **_wide("resnet18", 7.0, 1.0, 0.01),
        ),
    ),
    protocol=CIFAR10 | {"loss": "cross_entropy", "batch_size": 8},
    text="Wide networks, linearized, stay behind prior and random features and far behind standard training.",
)

PRIOR_FEATURES = Published(
    "Prior features in figure 3(b) of Chizat, Oyallon & Bach (2019)",
    "E. Oyallon, S. Mallat, Deep Roto-Translation Scattering for Object Classification, CVPR 2015",
    rows=(
        PublishedRow(SCATTERING, {"test_accuracy": 0.823}, where={"classifier": "rbf"}),
        PublishedRow("the same without rotations, order 2", {"test_accuracy": 0.803}, where={"classifier": "rbf"}),
    ),
    protocol=ALL_IMAGES,
    text="The 82.3 % is of a support vector machine with a Gaussian kernel on features selected with the labels from a "
    "roto-translation scattering of images enlarged to 64x64, in luminance and chrominance: linear methods is what the "
    "caption of figure 3(b) calls it, not its source. Neither row is the protocol here, which has the images as they "
    "are, all features, and ridge regression.",
)
