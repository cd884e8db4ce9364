"""What must hold before a run starts; each error names the thing and the remedy."""

import math

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..anchored import Anchored
from ..data import DeviceData, from_dataset
from .precision import data_type


def check_positive(**settings) -> None:
    """Raise ValueError for the first setting that is not a positive finite number."""
    for name, value in settings.items():
        if not value > 0 or not math.isfinite(value):
            raise ValueError(f"{name} must be positive and finite, got {value}: give a larger number")


def check_type(model: Anchored, precision: str) -> None:
    """Raise ValueError if the model is not in the type that ``precision`` trains."""
    dtype = next(model.parameters()).dtype
    if dtype != data_type(precision):
        cast = "double" if precision == "float64" else "float"
        raise ValueError(f"the model is in {dtype}, not for precision={precision}: call model.{cast}() first")


def check_outputs(model: Anchored, train: DeviceData, test: DeviceData, autocast) -> None:
    """Raise ValueError if the model's outputs do not fit the labels, in a trial on two training inputs."""
    x, y = train.head(2)
    training = model.training
    with torch.no_grad(), autocast():
        outputs = model.eval()(x)
    model.train(training)
    if not isinstance(outputs, Tensor):
        raise ValueError(f"the model returns a {type(outputs).__name__}: wrap it so that it returns one tensor")
    shape = tuple(outputs.shape)
    if y.is_floating_point():
        if outputs.shape != y.shape:
            raise ValueError(
                f"outputs have shape {shape}, targets {tuple(y.shape)}: give the targets that of the outputs"
            )
        return
    classes = int(torch.maximum(train.labels.max(), test.labels.max())) + 1
    if outputs.dim() != 2 or outputs.shape[1] < classes:
        raise ValueError(
            f"outputs have shape {shape}, but the labels are {classes} classes: give the network {classes} outputs"
        )


def on_device(data: DeviceData | Dataset | tuple[Tensor, Tensor], device: torch.device, dtype: torch.dtype):
    """``data`` as :class:`DeviceData` on the device.

    Raises:
        ValueError: it is DeviceData already, on another device or in another type.
    """
    if isinstance(data, DeviceData):
        if data.inputs.device != device or data.dtype != dtype:
            raise ValueError(
                f"the data is on {data.inputs.device} in {data.dtype}, the model on {device} in {dtype}: "
                f"make DeviceData with device={device} and dtype={dtype}"
            )
        return data
    inputs, labels = data if isinstance(data, (tuple, list)) else from_dataset(data)
    return DeviceData(inputs, labels, device=device, dtype=dtype)
