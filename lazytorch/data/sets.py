"""The image sets by name."""

from pathlib import Path

from lazytorch.data.cifar10 import cifar10
from lazytorch.data.digits import digits
from lazytorch.data.folder import image_folder
from lazytorch.data.images import ImageSet
from lazytorch.data.subset import balanced_subset


def load(
    name: str,
    root: str | Path | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    size: int | None = None,
    seed: int = 0,
) -> tuple[ImageSet, ImageSet]:
    """Training and test images of ``digits``, ``images`` (class folders in ``root``) or ``cifar10`` (in ``root``).

    ``train_size`` and ``test_size`` ask for class-balanced subsets drawn with ``seed``, None for the whole sets;
    ``size`` for images of size x size pixels.

    Raises:
        ValueError: if the name is unknown or a subset too large.
        FileNotFoundError, RuntimeError, ValueError: what the set's own reader raises.
    """
    if name == "images":
        return image_folder(root, train_size, test_size, size, seed)
    if name == "digits":
        train, test = digits()
    elif name == "cifar10":
        train, test = cifar10(root)
    else:
        raise ValueError(f"unknown image set {name!r}: choose digits, images or cifar10")
    return _subset(train, train_size, size, seed), _subset(test, test_size, size, seed)


def _subset(images: ImageSet, count: int | None, size: int | None, seed: int) -> ImageSet:
    chosen = images if count is None else images.select(balanced_subset(images.labels, count, seed))
    return chosen if size is None else chosen.resize(size)
