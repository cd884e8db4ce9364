"""A set of labelled images in memory."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .decoding import STRETCHED
from .fingerprint import fingerprint

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images (N, C, H, W) uint8, labels (N,) int64, and the names of the classes, in the order of the labels.

    Raises:
        ValueError: if a tensor has another shape or dtype, the set is empty, or a label has no class.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self):
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8 (N, C, H, W), got {self.images.dtype} {tuple(self.images.shape)}")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            raise ValueError(
                f"labels must be int64 ({len(self)},), one an image, got {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if len(self) == 0:
            raise ValueError("the image set is empty: give at least one image")
        if not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(
                f"labels run from {self.labels.min()} to {self.labels.max()} with {len(self.classes)} classes: "
                f"number the labels from 0 and name every class"
            )

    def __len__(self) -> int:
        return len(self.images)

    def select(self, indices: Tensor) -> ImageSet:
        """The images at ``indices`` (n,), in that order."""
        return ImageSet(self.images[indices], self.labels[indices], self.classes)

    def resize(self, size: int) -> ImageSet:
        """The images at size x size pixels, bilinear with antialiasing; a change of the aspect ratio is logged."""
        height, width = self.images.shape[-2:]
        if height == width == size:
            return self
        if height != width:
            log.warning("all %d images %s: %dx%d to %dx%d", len(self), STRETCHED, width, height, size, size)
        images = F.interpolate(self.images, size=(size, size), mode="bilinear", antialias=True)
        return ImageSet(images, self.labels, self.classes)

    def fingerprint(self) -> str:
        """The :func:`fingerprint` of images and labels."""
        return fingerprint(self.images, self.labels)
