"""What must hold before a run starts; each error names the thing and the remedy."""

import math
import numbers
from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn

from ..anchored import Anchored
from ..centered import CenteredModel
from ..data import DeviceData
from ..functional import read
from ..processes import Processes
from .isolation import as_trained, undisturbed
from .objective import Objective
from .placement import random_states
from .precision import data_type


def check_positive(**settings) -> None:
    """Raise ValueError for the first setting that is not a positive finite number."""
    for name, value in settings.items():
        if not _is_number(value) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value!r}: give such a number")


def check_counts(**settings) -> None:
    """Raise ValueError for the first setting that is not a positive integer."""
    for name, value in settings.items():
        if not _is_number(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}: give 1 or more")


def check_within(**settings) -> None:
    """Raise ValueError for the first setting name=(value, low, high) that is not in [low, high)."""
    for name, (value, low, high) in settings.items():
        if not _is_number(value) or not low <= value < high:
            raise ValueError(f"{name} must be in [{low}, {high}), got {value!r}: give such a number")


def check_seed(seed: int) -> None:
    """Raise ValueError if ``seed`` is not an integer that torch's generators take."""
    if not _is_number(seed, numbers.Integral) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a non-negative integer, got {seed!r}: give such a number")


def _is_number(value, kind=numbers.Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def check_type(model: Anchored, precision: str) -> None:
    """Raise ValueError if the model is not in the type that ``precision`` trains."""
    dtype = next(model.parameters()).dtype
    if (dtype.to_real() if dtype.is_complex else dtype) != data_type(precision):
        cast = "double" if precision == "float64" else "float"
        raise ValueError(f"the model is in {dtype}, not for precision={precision}: call model.{cast}() first")


def check_start(model: Anchored, train: DeviceData) -> None:
    """Raise ValueError if the weights, or the first training inputs or the outputs there at w_0, are not finite."""
    tensors = model.initial_weights() | model.initial_buffers()
    for name, finite in zip(tensors, read(tensor.isfinite().all() for tensor in tensors.values()), strict=True):
        if not finite:
            raise ValueError(f"{name} of the network is not finite at w_0: initialise it with finite values")
    x, _ = train.head(8)
    if not x.isfinite().all():
        raise ValueError("the normalised training inputs are not finite: correct the data, or data.mean and data.std")
    net = at_start(model)
    with undisturbed(model):
        outputs = net.eval()(x)
    if isinstance(outputs, Tensor) and not outputs.isfinite().all():
        raise ValueError("the network's outputs at w_0 are not finite: scale down its weights or its inputs")


def check_stopping(patience: int, validation: DeviceData | None) -> None:
    """Raise ValueError if training is to stop by a validation accuracy that there is not."""
    if patience and (validation is None or validation.labels.is_floating_point()):
        raise ValueError(
            f"patience={patience} stops by the accuracy on validation examples with class labels, of which there are "
            f"none: hold some out (data.validation_size), or set it to 0"
        )


def check_outputs(
    model: Anchored, train: DeviceData, test: DeviceData, objective: Objective, autocast: AbstractContextManager
) -> tuple[int, ...]:
    """The shape of the model's output for one example.

    The model is tried on two training inputs, traced in both modes and run in evaluation mode, which changes nothing.

    Raises:
        ValueError: its outputs do not fit the labels, or the objective does not give one number.
        UnsupportedOperator, UntraceableModule: what a first call raises.
    """
    x, y = train.head(2)
    if test.inputs.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"examples of the training set have shape {tuple(x.shape[1:])}, those to evaluate on "
            f"{tuple(test.inputs.shape[1:])}: give alike ones"
        )
    with undisturbed(model), autocast:
        outputs = model(x)
    if isinstance(model, CenteredModel):
        with as_trained(model), autocast:
            model.trace(x)
    if not isinstance(outputs, Tensor):
        raise ValueError(f"the model returns a {type(outputs).__name__}: wrap it so that it returns one tensor")
    shape = tuple(outputs.shape)
    if y.is_floating_point() and outputs.shape != y.shape:
        raise ValueError(
            f"outputs have shape {shape}, targets {tuple(y.shape)}: give the targets that of the outputs, or make them "
            f"class labels, labels.long()"
        )
    _check_loss(objective, outputs.to(train.dtype), y)
    if y.is_floating_point():
        return shape[1:]
    classes = int(torch.maximum(train.labels.max(), test.labels.max())) + 1
    if outputs.dim() != 2 or outputs.shape[1] < classes:
        raise ValueError(
            f"outputs have shape {shape}, but the labels are {classes} classes: give the network {classes} outputs"
        )
    return shape[1:]


def check_batches(model: Anchored, train: DeviceData, batch_size: int) -> None:
    """Raise ValueError if an epoch has a batch of one example and the network, for its batch norm, cannot train on it.

    Tried on a copy.
    """
    if len(train) % batch_size != 1 % batch_size:
        return
    with as_trained(model):
        net = at_start(model)
    normalised = [name for name, part in net.named_modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    try:
        with undisturbed(model):
            net(train.head(1)[0])
    except ValueError as error:
        if not normalised:
            raise
        raise ValueError(
            f"batches of {batch_size} of {len(train)} examples leave a last batch of one, with which the batch norm "
            f"{normalised[0]!r} cannot train ({error}): choose another batch_size, or train_size"
        ) from error


@torch.no_grad()
def check_independence(model: Anchored, train: DeviceData) -> None:
    """Raise ValueError if the outputs of an example depend on others of its batch, which processes take parts of.

    Tried on a copy at w_0, in training mode, unless that draws random numbers: then batch norm alone is looked for.
    """
    with as_trained(model):
        net = at_start(model)
    remedy = "train it in one process, in evaluation mode, or with a norm of each example (GroupNorm, LayerNorm)"
    for name, part in net.named_modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and (part.training or part.running_mean is None):
            raise ValueError(
                f"the statistics of the batch norm {name!r} would be those of each process's part: {remedy}"
            )
    x, _ = train.head(8)
    with undisturbed(model):
        before, whole, after = _states(x), net(x), _states(x)
        if len(x) < 2 or not all(map(torch.equal, before, after)):
            return
        halves = torch.cat([net(part) for part in x.tensor_split(2)])
    scale = whole.abs().max().clamp_min(torch.finfo(whole.dtype).tiny)
    if not torch.allclose(halves / scale, whole / scale, rtol=0, atol=1e3 * torch.finfo(whole.dtype).eps):
        raise ValueError(f"the outputs of an example depend on the others of its batch: {remedy}")


def check_alike(processes: Processes, record: dict) -> None:
    """Raise ValueError if another process trains something else, naming the first that differs."""
    for rank, theirs in enumerate(processes.gather(record)):
        for name, here in record.items():
            if theirs.get(name) != here:
                raise ValueError(
                    f"process {rank} has another {name} ({theirs.get(name)!r}, process {processes.rank} {here!r}): the "
                    f"processes of torchrun train one run together, give all of them the same"
                )


def check_visible(processes: Processes, path: Path) -> bool:
    """Whether the first process has that file; ValueError if another has not, or another one."""
    found = processes.gather(path.stat().st_size if path.exists() else None)
    if len(set(found)) > 1:
        raise ValueError(
            f"{path} is {found[0]} bytes for process 0 and {found[processes.rank]} for process {processes.rank}: put "
            f"the runs on a file system that all machines share"
        )
    return found[0] is not None


@torch.no_grad()
def at_start(model: Anchored) -> nn.Module:
    """A plain copy of the wrapped module at w_0."""
    net, initial = model.to_module(), model.initial_weights() | model.initial_buffers()
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        tensor.copy_(initial[name])
    return net


def _states(x: Tensor) -> list[Tensor]:
    return list(random_states(x.device, Processes()).values())


def _check_loss(objective: Objective, outputs: Tensor, y: Tensor) -> None:
    try:
        with torch.enable_grad():
            loss = objective(outputs.detach().requires_grad_(), y)
    except Exception as error:
        raise ValueError(
            f"the loss fails on outputs {tuple(outputs.shape)} and labels {tuple(y.shape)} ({error}): "
            f"give a function (outputs, labels) -> mean loss, and the network as many outputs as there are classes"
        ) from error
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        raise ValueError(f"the loss gives a {type(loss).__name__} where one number is needed: return the batch's mean")
    if not loss.requires_grad:
        raise ValueError("the loss has no gradient in the outputs: compute it with torch, without detach() or item()")
