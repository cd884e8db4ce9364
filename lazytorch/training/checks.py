"""What must hold before a run starts; each error names the thing and the remedy."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..anchored import Anchored
from ..centered import CenteredModel
from ..data import DeviceData
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


def check_outputs(
    model: Anchored, train: DeviceData, test: DeviceData, objective: Objective, autocast
) -> tuple[int, ...]:
    """The shape of the model's output for one example.

    The model is tried on two training inputs, traced in both modes and run in evaluation mode, which changes nothing.

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
        return shape[1:]
    classes = int(torch.maximum(train.labels.max(), test.labels.max())) + 1
    if outputs.dim() != 2 or outputs.shape[1] < classes:
        raise ValueError(
            f"outputs have shape {shape}, but the labels are {classes} classes: give the network {classes} outputs"
        )
    return shape[1:]


@torch.no_grad()
def check_start(model: Anchored, train: DeviceData) -> None:
    """Raise ValueError if the network at w_0, or its inputs, are not finite on the first training examples."""
    x, _ = train.head(8)
    if not x.isfinite().all():
        raise ValueError("the normalised training inputs are not finite: correct the data, or data.mean and data.std")
    for name, tensor in (model.initial_weights() | model.initial_buffers()).items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} of the network is not finite at w_0: initialise it with finite values")
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        outputs = model.to_module().eval()(x)
    if isinstance(outputs, Tensor) and not outputs.isfinite().all():
        raise ValueError("the network's outputs at w_0 are not finite: scale down its weights or its inputs")


def check_batches(model: Anchored, train: DeviceData, batch_size: int) -> None:
    """Raise ValueError if the last batch of an epoch has one example, with which batch norm cannot train."""
    if len(train) % batch_size != 1 % batch_size:
        return
    normalised = [path for path, part in model.structure.named_modules() if _needs_several(part)]
    if normalised:
        raise ValueError(
            f"batches of {batch_size} of {len(train)} examples leave a last batch of one, with which the batch norm "
            f"{normalised[0]!r} cannot train: choose another batch_size, or train_size"
        )


def _needs_several(part: nn.Module) -> bool:
    return isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training


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


def unmoved(model: Anchored) -> bool:
    """Whether theta = 0, and the buffers are those of w_0. Waits for the device."""
    return not any(tensor.any() for tensor in (*model.theta.values(), *model.buffer_differences().values()))
