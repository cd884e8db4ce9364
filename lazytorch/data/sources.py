"""Data in any of the forms that a training takes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from .dataset import from_dataset
from .device import DeviceData
from .images import ImageSet

Source = DeviceData | ImageSet | Dataset[Any] | tuple[Tensor | np.ndarray, Tensor | np.ndarray]


def as_device_data(data: Source, device: torch.device | str, dtype: torch.dtype) -> DeviceData:
    """``data`` as :class:`DeviceData` on ``device``, served in ``dtype``.

    It is DeviceData already (which comes back as it is), an :class:`ImageSet`, a pair (inputs, labels) of tensors or
    numpy arrays, or a map-style Dataset of (input, label) pairs, all of which is read.

    Raises:
        TypeError: if it is anything else, a DataLoader for one.
        ValueError: if it is DeviceData on another device or in another type, or what DeviceData refuses.
    """
    if isinstance(data, DeviceData):
        return _check_placement(data, torch.empty(0, device=device).device, dtype)
    if isinstance(data, ImageSet):
        inputs, labels = data.images, data.labels
    elif isinstance(data, (tuple, list)) and len(data) == 2:
        inputs, labels = data
    elif isinstance(data, DataLoader) or _is_map_style(data):
        inputs, labels = from_dataset(data)
    else:
        raise TypeError(f"data is {_describe(data)}: give DeviceData, a pair (inputs, labels), or a map-style Dataset")
    return DeviceData(inputs, labels, device=device, dtype=dtype)


def _check_placement(data: DeviceData, device: torch.device, dtype: torch.dtype) -> DeviceData:
    if data.inputs.device != device or data.dtype != dtype:
        raise ValueError(
            f"the data is on {data.inputs.device} in {data.dtype}, the model on {device} in {dtype}: "
            f"make DeviceData with device={device} and dtype={dtype}"
        )
    return data


def _is_map_style(data: object) -> bool:
    plain = (Tensor, np.ndarray, tuple, list, dict, str, bytes)
    return isinstance(data, Dataset) or (
        hasattr(data, "__len__") and hasattr(data, "__getitem__") and not isinstance(data, plain)
    )


def _describe(data: object) -> str:
    length = f" of {len(data)}" if isinstance(data, (tuple, list)) else ""
    return f"a {type(data).__name__}{length}"
