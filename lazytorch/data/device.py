"""Data that lives on a device: batches without a transfer or a synchronisation a step."""

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .arrays import as_tensor
from .fingerprint import fingerprint

AUGMENTATIONS = ("none", "flip", "crop_flip")
PADDING = 4


class DeviceData:
    """Inputs and labels on a device, served in batches (x, y).

    Images, uint8 (N, C, H, W), stay uint8 and become (x / 255 - mean) / std in ``dtype`` batch by batch; ``mean`` and
    ``std`` (one number a channel; default 0 and 1) are in units where 255 is 1. Other inputs (N, ...) are served as
    they are, floating ones in ``dtype``. Labels are class indices (N,), served as int64, or floating targets (N, ...),
    served in ``dtype``.

    ``augment`` is none, flip (each image mirrored with probability 1/2) or crop_flip (each image padded by 4 black
    pixels a side, cropped at random to its own size, then flip).

    Args:
        inputs: (N, ...), N > 0, a tensor or a numpy array.
        labels: (N,) integers or (N, ...) floating, a tensor or a numpy array.
        device: where both are kept; what is there already in the right type is not copied.

    Raises:
        TypeError: if inputs or labels are neither tensors nor arrays of numbers.
        ValueError: if the shapes do not fit, a number is not finite or a class negative, ``augment`` is unknown,
            ``mean`` or ``std`` is not finite or ``std`` not positive, or ``augment``, ``mean`` or ``std`` is given for
            inputs that are not uint8 images.
    """

    def __init__(
        self,
        inputs: Tensor | np.ndarray,
        labels: Tensor | np.ndarray,
        *,
        device: torch.device | str = "cpu",
        augment: str = "none",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        inputs, labels = as_tensor(inputs, "inputs"), as_tensor(labels, "labels")
        _check_lengths(inputs, labels)
        self.augment, self.dtype = augment, dtype
        mean, std = _numbers("mean", mean), _numbers("std", std)
        self.is_image = inputs.dtype == torch.uint8
        if self.is_image:
            _check_images(inputs, augment, mean, std)
            channels = inputs.shape[1]
            self._normalisation = (mean or (0.0,) * channels, std or (1.0,) * channels)
            self.mean, self.std = (
                torch.tensor(value, dtype=dtype, device=device)[:, None, None] for value in self._normalisation
            )
        else:
            _check_not_images(inputs, augment, mean, std)
            self._normalisation = None
        self._fingerprint: str | None = None
        self.inputs = inputs.to(device, dtype if inputs.is_floating_point() else None)
        self.labels = labels.to(device, dtype if labels.is_floating_point() else torch.int64)
        _check_finite("inputs", self.inputs)
        _check_finite("labels", self.labels)
        _check_classes(self.labels)

    def __len__(self) -> int:
        return len(self.inputs)

    def epoch(
        self, batch_size: int, seed: int, epoch: int, start: int = 0, part: tuple[int, int] = (0, 1)
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The augmented batches of one epoch in random order; the last one may be smaller.

        Permutation, flips and crops are drawn at the start of the epoch from one CPU generator seeded with a hash of
        (seed, epoch), and go to the device in one transfer: they are the same on every device. ``start`` leaves out
        that many batches; those that follow are the same bits as without it. ``part`` (k, n) leaves of every batch
        the k-th of n pieces, whose lengths differ by at most 1 and may be 0.

        Raises:
            ValueError: if ``batch_size`` is not positive or ``start`` is negative.
        """
        if batch_size < 1 or start < 0:
            raise ValueError(f"batch_size={batch_size} and start={start} must be at least 1 and 0: correct them")
        draws = self._draws(seed, epoch)
        for first in range(start * batch_size, len(self), batch_size):
            index, mirrored, top, left = _part(draws[:, first : first + batch_size], part)
            x = self.inputs[index]
            if self.augment == "crop_flip":
                x = _crop(x, top, left)
            if self.augment != "none":
                x = torch.where(mirrored[:, None, None, None] == 1, x.flip(-1), x)
            yield self._normalise(x), self.labels[index]

    def ordered(self, batch_size: int, part: tuple[int, int] = (0, 1)) -> Iterator[tuple[Tensor, Tensor]]:
        """All batches in order, unaugmented, for evaluation; the last one may be smaller.

        ``part`` (k, n) leaves the k-th of n pieces of the whole.
        """
        for index in _part(torch.arange(len(self), device=self.inputs.device), part).split(batch_size):
            if len(index):
                yield self.take(index)

    def head(self, n: int) -> tuple[Tensor, Tensor]:
        """The first n inputs and labels (all, if there are fewer), unaugmented."""
        return self.take(torch.arange(min(n, len(self)), device=self.inputs.device))

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs and labels at ``indices`` (n,), a tensor on the data's device, unaugmented."""
        return self._normalise(self.inputs[indices]), self.labels[indices]

    def fingerprint(self) -> str:
        """The :func:`fingerprint` of inputs, labels, augmentation and normalisation; the same on every device.

        Computed once: the data are not changed after they have been given.
        """
        if self._fingerprint is None:
            settings = f"{self.augment} {self._normalisation}"
            self._fingerprint = fingerprint(self.inputs, self.labels, settings=settings)
        return self._fingerprint

    def _draws(self, seed: int, epoch: int) -> Tensor:
        # (4, N): what to serve, whether to mirror it, and the corner of its crop in the padded image.
        digest = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
        generator = torch.Generator("cpu").manual_seed(int.from_bytes(digest[:7], "big"))
        n = len(self)
        permutation = torch.randperm(n, generator=generator, device="cpu")
        mirrored = torch.randint(2, (1, n), generator=generator, device="cpu")
        corners = torch.randint(2 * PADDING + 1, (2, n), generator=generator, device="cpu")
        return torch.cat([permutation[None], mirrored, corners]).to(self.inputs.device)

    def _normalise(self, x: Tensor) -> Tensor:
        return (x.to(self.dtype) / 255 - self.mean) / self.std if self.is_image else x


def _part(tensor: Tensor, part: tuple[int, int]) -> Tensor:
    number, count = part
    return tensor.tensor_split(count, dim=-1)[number]


def _crop(x: Tensor, top: Tensor, left: Tensor) -> Tensor:
    n, channels, height, width = x.shape
    rows = top[:, None] + torch.arange(height, device=x.device)
    columns = left[:, None] + torch.arange(width, device=x.device)
    padded = F.pad(x, [PADDING] * 4)
    strip = padded.gather(2, rows[:, None, :, None].expand(n, channels, height, padded.shape[3]))
    return strip.gather(3, columns[:, None, None, :].expand(n, channels, height, width))


def _numbers(name: str, value: Sequence[float] | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(float(number) for number in value)
    except TypeError as error:
        raise TypeError(f"{name} is {value!r}: give one number a channel, as (0.5, 0.5, 0.5)") from error
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name}={numbers} is not finite: give finite numbers (data.{name})")
    return numbers


def _check_lengths(inputs: Tensor, labels: Tensor) -> None:
    if inputs.ndim == 0 or inputs.numel() == 0:
        raise ValueError(f"inputs of shape {tuple(inputs.shape)} hold no example: give (N, ...) with N > 0")
    if labels.ndim == 0 or len(labels) != len(inputs) or labels.numel() == 0:
        raise ValueError(f"labels of shape {tuple(labels.shape)} for {len(inputs)} inputs: give one label an input")
    if labels.ndim != 1 and not labels.is_floating_point():
        raise ValueError(f"{labels.dtype} labels of shape {tuple(labels.shape)}: make them (N,) or floating")
    if labels.is_complex():
        raise ValueError(f"labels are {labels.dtype}: make them class indices or floating targets")


def _check_finite(name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point():
        return
    extremes = torch.stack(tensor.aminmax())  # nan if any number is
    if not bool(torch.isfinite(extremes).all()):
        first = int((~torch.isfinite(tensor)).flatten(1 if tensor.ndim > 1 else 0).nonzero()[0, 0])
        raise ValueError(
            f"{name} hold a number that is not finite in {tensor.dtype}, first in example {first}: "
            f"repair or leave out such examples"
        )


def _check_classes(labels: Tensor) -> None:
    if not labels.is_floating_point() and not bool((labels >= 0).all()):
        raise ValueError(f"a label is {int(labels.min())}: number the classes from 0, leave out unlabelled examples")


def _check_images(inputs: Tensor, augment: str, mean: tuple | None, std: tuple | None) -> None:
    if inputs.ndim != 4:
        raise ValueError(f"uint8 inputs must be images (N, C, H, W), got {tuple(inputs.shape)}: make them floating")
    if augment not in AUGMENTATIONS:
        raise ValueError(f"unknown augment {augment!r}: choose one of {', '.join(AUGMENTATIONS)}")
    for name, value in (("mean", mean), ("std", std)):
        if value is not None and len(value) != inputs.shape[1]:
            raise ValueError(f"{name} has {len(value)} numbers for {inputs.shape[1]} channels: give one a channel")
    if std is not None and not all(value > 0 for value in std):
        raise ValueError(f"std={std} is not positive: give 1 for a constant channel")


def _check_not_images(inputs: Tensor, augment: str, mean: tuple | None, std: tuple | None) -> None:
    if inputs.dtype in (torch.uint16, torch.uint32, torch.uint64):
        raise ValueError(f"inputs are {inputs.dtype}, which torch cannot compute with: make them floating")
    if augment != "none":
        raise ValueError(f"augment={augment!r} needs uint8 images, got {inputs.dtype}: set data.augment=none")
    if mean is not None or std is not None:
        raise ValueError(f"mean and std are for uint8 images, got {inputs.dtype}: normalise the inputs beforehand")
