"""Class-balanced, seeded subsets."""

from numbers import Integral

import torch
from torch import Tensor


def balanced_subset(labels: Tensor, size: int | None, seed: int) -> Tensor:
    """Indices (size,) int64 of a random subset of ``labels`` (N,) int64 whose class counts differ by at most one.

    Every class is there. Classes, in a random order, take turns at giving a random member: every prefix is
    class-balanced too, and a smaller subset of the same seed is a prefix of a larger one. The draws come from a
    generator of their own, seeded with ``seed``. ``size=None`` means all of them, in the order they have.

    Raises:
        ValueError: if ``size`` is not an integer, less than the number of classes, or too large for some class.
    """
    if size is None:
        return torch.arange(len(labels))
    generator = torch.Generator().manual_seed(seed)
    classes = labels.unique()
    classes = classes[torch.randperm(len(classes), generator=generator)].tolist()
    position = torch.empty_like(labels)
    limits: dict[int, int] = {}
    for turn, label in enumerate(classes):
        members = (labels == label).nonzero().squeeze(1)
        rank = torch.randperm(len(members), generator=generator)
        position[members] = rank * len(classes) + turn
        limits[label] = len(members) * len(classes) + turn
    smallest = min(limits, key=limits.__getitem__)
    if not isinstance(size, Integral) or not len(classes) <= size <= limits[smallest]:
        raise ValueError(
            f"no class-balanced subset of {size} can be drawn from {len(classes)} classes, class {smallest} has "
            f"{(labels == smallest).sum()}: ask for {len(classes)} (one a class) to {limits[smallest]}, or null for "
            f"all (data.train_size, data.validation_size, data.test_size)"
        )
    return position.argsort()[:size]


def hold_out(labels: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices, in order, of the examples to fit and of ``size`` others held out, drawn class-balanced with ``seed``.

    Raises:
        ValueError: no balanced subset has that size, or a class has none left to fit.
    """
    is_held_out = torch.zeros(len(labels), dtype=torch.bool)
    is_held_out[balanced_subset(labels, size, seed)] = True
    lost = [label for label in labels.unique().tolist() if label not in labels[~is_held_out]]
    if lost:
        raise ValueError(f"holding out {size} of {len(labels)} examples leaves none of class {lost[0]}: hold out fewer")
    return (~is_held_out).nonzero().squeeze(1), is_held_out.nonzero().squeeze(1)
