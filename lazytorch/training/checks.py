"""What must hold before a run starts; each error names the thing and the remedy."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..anchored import Anchored
from ..centered import CenteredModel
from ..data import DeviceData, from_dataset
from .objective import Objective
from .precision import data_type


def check_positive(**settings) -> None:
    """Raise ValueError for the first setting that is not a positive finite number."""
    for name, value in settings.items():
        if not _is_number(value) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value!r}: give such a number")


def check_counts(**settings) -> None:
    """Raise ValueError for the first setting that is not a positive integer."""
    for name, value in settings.items():
        if not _is_number(value) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}: give 1 or more")


def check_within(**settings) -> None:
    """Raise ValueError for the first setting name=(value, low, high) that is not in [low, high)."""
    for name, (value, low, high) in settings.items():
        if not _is_number(value) or not low <= value < high:
            raise ValueError(f"{name} must be in [{low}, {high}), got {value!r}: give such a number")


def check_seed(seed: int) -> None:
    """Raise ValueError if ``seed`` is not an integer that torch's generators take."""
    if not _is_number(seed) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a non-negative integer, got {seed!r}: give such a number")


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_type(model: Anchored, precision: str) -> None:
    """Raise ValueError if the model is not in the type that ``precision`` trains."""
    dtype = next(model.parameters()).dtype
    if dtype != data_type(precision):
        cast = "double" if precision == "float64" else "float"
        raise ValueError(f"the model is in {dtype}, not for precision={precision}: call model.{cast}() first")


def check_outputs(model: Anchored, train: DeviceData, test: DeviceData, objective: Objective, autocast) -> None:
    """Try the model on two training inputs, traced in both modes and run in evaluation mode, which changes nothing.

    Raises:
        ValueError: its outputs do not fit the labels, or the objective does not give one number.
        UnsupportedOperator, UntraceableModule: what a first call raises.
    """
    x, y = train.head(2)
    with evaluating(model), torch.no_grad(), autocast():
        outputs = model(x)
        if isinstance(model, CenteredModel):
            model.train()
            model.trace(x)
    if not isinstance(outputs, Tensor):
        raise ValueError(f"the model returns a {type(outputs).__name__}: wrap it so that it returns one tensor")
    shape = tuple(outputs.shape)
    loss = _try(objective, outputs.to(train.dtype), y)
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        raise ValueError(f"the loss gives a {type(loss).__name__} where one number is needed: return the batch's mean")
    if y.is_floating_point():
        if outputs.shape != y.shape:
            raise ValueError(
                f"outputs have shape {shape}, targets {tuple(y.shape)}: give the targets that of the outputs"
            )
        return
    if int(torch.minimum(train.labels.min(), test.labels.min())) < 0:
        raise ValueError("a label is negative: number the classes from 0")
    classes = int(torch.maximum(train.labels.max(), test.labels.max())) + 1
    if outputs.dim() != 2 or outputs.shape[1] < classes:
        raise ValueError(
            f"outputs have shape {shape}, but the labels are {classes} classes: give the network {classes} outputs"
        )


def _try(objective: Objective, outputs: Tensor, y: Tensor):
    try:
        return objective(outputs, y)
    except Exception as error:
        raise ValueError(
            f"the loss fails on outputs {tuple(outputs.shape)} and labels {tuple(y.shape)} ({error}): "
            f"give a function (outputs, labels) -> mean loss, and the network as many outputs as there are classes"
        ) from error


@contextmanager
def evaluating(model: Anchored) -> Iterator[None]:
    """The model in evaluation mode, and every part of it back in its own mode afterwards."""
    modes = [(part, part.training) for part in (*model.modules(), *model.structure.modules())]
    model.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


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
