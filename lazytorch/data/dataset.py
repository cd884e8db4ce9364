"""A torch Dataset as two tensors."""

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lazytorch.data.images import image_to_tensor
from lazytorch.data.progress import progress


def from_dataset(dataset: Dataset) -> tuple[Tensor, Tensor]:
    """All (input, label) pairs of a map-style dataset, stacked: inputs (N, ...) and labels (N, ...).

    Inputs are tensors, or PIL images, which become uint8 (C, H, W) with C = 1 if grey, else 3. Labels are numbers or
    tensors. Every item is read once, so a random transform of the dataset is drawn once for the whole training.

    Raises:
        TypeError: if the dataset has no length, or an item is not such a pair.
        ValueError: if the dataset is empty, or its items differ in shape.
    """
    if not hasattr(dataset, "__len__"):
        raise TypeError(
            f"{type(dataset).__name__} has no length: pass a map-style dataset, with __len__ and __getitem__"
        )
    pairs = [_pair(dataset[index], index) for index in progress(range(len(dataset)), "the dataset")]
    if not pairs:
        raise ValueError("the dataset is empty: give at least one (input, label) pair")
    inputs, labels = zip(*pairs, strict=True)
    return _stack(inputs, "inputs"), _stack(labels, "labels")


def _pair(item: object, index: int) -> tuple[Tensor, Tensor]:
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise TypeError(f"item {index} of the dataset is a {type(item).__name__}: return an (input, label) pair")
    value, label = item
    if isinstance(value, Image.Image):
        value = image_to_tensor(value)
    if not isinstance(value, Tensor):
        raise TypeError(f"input {index} of the dataset is a {type(value).__name__}: return a tensor or a PIL image")
    if not isinstance(label, (int, float, Tensor)):
        raise TypeError(f"label {index} of the dataset is a {type(label).__name__}: return a number or a tensor")
    return value, torch.as_tensor(label)


def _stack(tensors: tuple[Tensor, ...], what: str) -> Tensor:
    for index, tensor in enumerate(tensors):
        if tensor.shape != tensors[0].shape:
            raise ValueError(
                f"the dataset's {what} differ in shape, {tuple(tensors[0].shape)} at 0 and {tuple(tensor.shape)} at "
                f"{index}: bring them to one shape in the dataset's transform"
            )
    return torch.stack(tensors)
