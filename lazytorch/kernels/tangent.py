"""The empirical tangent kernel Theta(x1, x2) = J(x1) J(x2)^T of a module, exactly."""

import torch
from torch import Tensor, nn

from ..anchored import Anchored
from .inspection import inspect_network, refuse_training_modes
from .plan import Plan, make_plan
from .recording import Network, exact_arithmetic
from .tiles import Kernel

KINDS = ("full", "trace", "diagonal")


def empirical_ntk(net, x1, x2=None, kind="full", weights=None, max_memory=None) -> Tensor:
    """Doc."""
    with exact_arithmetic():
        kernel = _prepared(net, x1, x2, kind, weights, max_memory)
        return kernel.compute()


def plan_ntk(net, x1, x2=None, kind="full", weights=None, max_memory=None) -> Plan:
    """Doc."""
    with exact_arithmetic():
        return _prepared(net, x1, x2, kind, weights, max_memory).plan


def _prepared(net, x1, x2, kind, weights, max_memory) -> Kernel:
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
    if isinstance(net, Anchored):
        net = net.to_module()
    refuse_training_modes(net)
    if not any(parameter.requires_grad for parameter in net.parameters()):
        raise ValueError(f"{type(net).__name__} has no trainable parameters: a tangent kernel needs at least one")
    network = Network(net, values_at(net, weights))
    left = _inputs(x1, network.dtype)
    right = None if x2 is None else _inputs(x2, network.dtype)
    findings = inspect_network(network, left)
    n2 = None if right is None else len(right[0])
    memory = parse_memory(max_memory)
    plan = make_plan(findings, kind, len(left[0]), n2, memory, network.dtype.itemsize)
    return Kernel(network, plan, left, right)


def parse_memory(max_memory: int | str | None) -> int:
    """Bytes of ``max_memory``: a number, or a string like "4GiB" or "500 MB"; 1 GiB for None."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
    if max_memory is None:
        return 2**30
    text = str(max_memory).strip()
    number = text.rstrip("BKMGIbkmgi ")
    try:
        size = int(float(number) * units[text[len(number) :].strip().upper()])
    except (ValueError, KeyError):
        size = 0
    if size <= 0:
        raise ValueError(f"max_memory={max_memory!r}: give a number of bytes or a string like '4GiB'")
    return size


def _inputs(x, dtype) -> tuple[Tensor, ...]:
    inputs = tuple(x) if isinstance(x, (tuple, list)) else (x,)
    if not inputs or not all(isinstance(t, Tensor) and t.dim() > 0 for t in inputs):
        raise ValueError("inputs must be a tensor, or a tuple of tensors, whose first dimension counts the examples")
    if len({len(t) for t in inputs}) > 1:
        raise ValueError(f"inputs have different numbers of examples: {', '.join(str(len(t)) for t in inputs)}")
    if len(inputs[0]) == 0:
        raise ValueError("inputs have no examples")
    return tuple(t.detach().to(dtype) if t.is_floating_point() else t for t in inputs)


def values_at(net: nn.Module, weights: dict | None) -> dict[str, Tensor]:
    """Name -> value of every parameter and buffer of ``net``, those in ``weights`` replaced, in the type of these."""
    own = dict(net.named_parameters()) | dict(net.named_buffers())
    tensors = {name: tensor.detach() for name, tensor in own.items()}
    if not weights:
        return tensors
    unknown = sorted(set(weights) - set(tensors))
    if unknown:
        raise ValueError(f"weights names {unknown[0]!r}, which {type(net).__name__} does not have")
    dtype = next(iter(weights.values())).dtype
    tensors |= {name: tensor.detach() for name, tensor in weights.items()}
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
