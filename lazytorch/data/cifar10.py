"""CIFAR-10 in its official files."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .images import ImageSet

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

# The normalisation of the paper, in units where pixels lie in [0, 1].
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)

FOLDER = "cifar-10-batches-py"
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)


def cifar10(root: str | Path | None) -> tuple[ImageSet, ImageSet]:
    """The 50,000 training and 10,000 test images (N, 3, 32, 32) in the official order, checked by md5.

    Files absent from ``root`` or damaged are unpacked from its ``cifar-10-python.tar.gz``, or downloaded.

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

    Raises:
        ValueError: if ``root`` is None.
        RuntimeError: if the files are absent or damaged and cannot be downloaded, or ``root`` cannot be used.
    """
    if root is None:
        raise ValueError("data=cifar10 needs a directory: set data.root=DIR, where the files are or are downloaded to")
    from torchvision.datasets import CIFAR10

    root = Path(root).expanduser()
    try:
        train, test = (_image_set(CIFAR10(root, train=train, download=True)) for train in (True, False))
    except (OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in DENIED:
            raise RuntimeError(
                f"cannot read or write {error.filename or root}: {error.strerror}: make room and give this user access"
            ) from error
        raise RuntimeError(
            f"{_fault(root)} and cannot be downloaded ({error}): "
            f"copy {CIFAR10.filename} (md5 {CIFAR10.tgz_md5}) from {CIFAR10.url} into {root}"
        ) from error
    return train, test


def _image_set(dataset: CIFAR10) -> ImageSet:
    images = torch.from_numpy(dataset.data).permute(0, 3, 1, 2).contiguous()
    return ImageSet(images, torch.tensor(dataset.targets), tuple(dataset.classes))


def _fault(root: Path) -> str:
    folder = root / FOLDER
    if folder.exists():
        return f"the CIFAR-10 files in {folder} are incomplete or damaged (md5; delete the folder)"
    return f"there are no CIFAR-10 files in {root}"
