"""The published numbers that runs are set beside."""

from dataclasses import dataclass

SOURCE = (
    "L. Chizat, E. Oyallon, F. Bach, On Lazy Training in Differentiable Programming, NeurIPS 2019, arXiv:1812.07956"
)


@dataclass(frozen=True)
class Accuracy:
    """A row of the table of Figure 3(b): accuracies on CIFAR-10 in percent, None where none is reported."""

    model: str
    train: float | None
    test: float


@dataclass(frozen=True)
class Protocol:
    """How a figure was made: CIFAR-10, SGD with momentum, learning rate lr / (1 + beta t) at epoch t."""

    figure: str
    model: str
    loss: str
    alphas: tuple[float, ...]
    lr: dict[float, float]  # alpha -> eta_0
    batch_size: int
    momentum: float
    epochs: int | None  # None: until the test accuracy stabilises
    finding: str


FIGURE_3A = Protocol(
    figure="Figure 3(a), Section 3.2",
    model="VGG-11",
    loss="square loss",
    alphas=tuple(10.0**k for k in range(8)),
    lr={10.0**k: 1.0 for k in range(8)},
    batch_size=128,
    momentum=0.9,
    epochs=70,
    finding="accuracy falls as alpha grows, then reaches a plateau; the stability of activations reaches about 100 %",
)

FIGURE_3B = Protocol(
    figure="Figure 3(b), Section 3.2",
    model="VGG-11 with 8 and ResNet-18 with 7 times the channels",
    loss="cross-entropy",
    alphas=(1.0, 1e7),
    lr={1.0: 0.01, 1e7: 1.0},
    batch_size=8,
    momentum=0.9,
    epochs=None,
    finding="wide networks, linearized, stay behind prior and random features and far behind standard training",
)

FIGURE_3B_ACCURACIES = (
    Accuracy("ResNet wide, linearized", 55.0, 56.7),
    Accuracy("VGG-11 wide, linearized", 61.0, 61.7),
    Accuracy("Prior features (scattering; Oyallon & Mallat 2015)", None, 82.3),
    Accuracy("Random features (Recht et al. 2018, after Coates & Ng)", None, 84.2),
    Accuracy("VGG-11 wide, standard", 99.9, 89.7),
    Accuracy("ResNet wide, standard", 99.4, 91.0),
)
