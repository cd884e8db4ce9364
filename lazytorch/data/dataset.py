"""A torch Dataset as two tensors."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..progress import progress
from .arrays import as_tensor
from .decoding import Findings, image_to_tensor


def from_dataset(dataset: Dataset[Any]) -> tuple[Tensor, Tensor]:
    """All (input, label) pairs of a map-style dataset, stacked: inputs (N, ...) and labels (N, ...).

    Inputs are tensors, numpy arrays, or PIL images, which become what :func:`image_to_tensor` makes of them: uint8
    (C, H, W) with C = 1 if grey, else 3. Labels are numbers, tensors or numpy arrays. Every item is read once, so a
    random transform of the dataset is drawn once for the whole training.

    Raises:
        TypeError: if it is a DataLoader, or has no length, or an item is not such a pair.
        ValueError: if the dataset is empty, or its items differ in shape.
    """
    if isinstance(dataset, DataLoader):
        raise TypeError("a DataLoader serves batches of its own: pass its dataset, loader.dataset")
    if isinstance(dataset, IterableDataset) or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(
            f"{type(dataset).__name__} has no length: pass a map-style dataset, with __len__ and __getitem__"
        )
    findings, size = Findings(), len(dataset)  # type: ignore[arg-type]
    pairs = [_pair(dataset[index], index, findings) for index in progress(range(size), "the dataset")]
    if not pairs:
        raise ValueError("the dataset is empty: give at least one (input, label) pair")
    findings.say(size)
    inputs, labels = zip(*pairs, strict=True)
    return _stack(inputs, "inputs"), _stack(labels, "labels")


def _pair(item: object, index: int, findings: Findings) -> tuple[Tensor, Tensor]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise TypeError(f"item {index} of the dataset is a {type(item).__name__}: return an (input, label) pair")
    value, label = item
    name = f"input {index} of the dataset"
    if _is_pillow(value):
        with findings.of_warnings(name):
            value = image_to_tensor(value, findings=findings, name=name)
    if isinstance(label, (int, float)):
        label = torch.tensor(label)
    return as_tensor(value, name), as_tensor(label, f"label {index} of the dataset")


def _is_pillow(value: object) -> bool:
    pillow = sys.modules.get("PIL.Image")  # whoever has such an image has imported it
    return pillow is not None and isinstance(value, pillow.Image)


def _stack(tensors: tuple[Tensor, ...], what: str) -> Tensor:
    for index, tensor in enumerate(tensors):
        if tensor.shape != tensors[0].shape:
            raise ValueError(
                f"the dataset's {what} differ in shape, {tuple(tensors[0].shape)} at 0 and {tuple(tensor.shape)} at "
                f"{index}: bring them to one shape in the dataset's transform"
            )
    return torch.stack(tensors)
