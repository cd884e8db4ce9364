"""The empirical tangent kernel Theta(x1, x2) = J(x1) J(x2)^T of a module, exactly."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..anchored import Anchored
from ..functional import values_at
from .inspection import inspect_network
from .plan import Plan, make_plan
from .recording import Network, exact_derivatives
from .tiles import Kernel
from .verification import check_an_entry
from .workers import Workers

KINDS = ("full", "trace", "diagonal")


def empirical_ntk(
    net: nn.Module,
    x1: Tensor | tuple[Tensor, ...],
    x2: Tensor | tuple[Tensor, ...] | None = None,
    kind: str = "full",
    weights: dict[str, Tensor] | None = None,
    max_memory: int | str | None = None,
    file: str | os.PathLike | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """The tangent kernel over the trainable parameters of ``net``.

    kind="full": (n1, n2, K, K), entry [i, j, k, l] = df_k(x1_i) . df_l(x2_j); "trace": (n1, n2), its sum over k = l;
    "diagonal": (n1, n2, K), its entries k = l. Output shapes other than (n, K) are flattened to K.

    Linear layers, convolutions, normalisations, embeddings, attention's projections, and parameters that are added,
    multiplied or expanded, with any ties and repetitions, are contracted from what goes into them and the cotangents
    of what comes out, in the way that takes the fewest operations (:mod:`.contractions`); the Jacobians of all other
    parameters come from differentiation, batched by torch.func.vmap, or one example at a time where the module does
    not allow that (RNNs). Nothing is approximated. :func:`plan_ntk` shows what will be done.

    Cost: one forward and K + 1 backward passes for every example, repeated for column blocks where not all examples'
    features fit in ``max_memory``; and the contraction. Memory: ``max_memory``, or what passes over three examples
    take if that is more, beside the inputs, the network and the result. With ``x2`` None half is computed, and the
    result is exactly symmetric. TF32 is off. One entry is compared with gradients of the examples themselves.

    Under ``torch.distributed`` each process computes its own kernel, unless a ``group`` is given to share one: then all
    its members must call, each computes its share of the tiles, and all return the whole kernel.

    Args:
        net: any module whose examples do not interact; a :class:`CenteredModel` means its network at ``weights()``.
            Networks in bfloat16 or float16 are taken to float32, and have kernels of that type.
        x1: (n1, ...) inputs, a tensor or a tuple of them; floating ones are converted to the network's type.
        x2: (n2, ...) inputs, of the same shape; None means x1.
        kind: "full", "trace" or "diagonal".
        weights: dict name -> tensor, values to use instead of the module's own parameters (and buffers); the inputs
            and everything else floating are converted to their type.
        max_memory: of the workspace, in bytes or as "4GiB"; 1 GiB if None.
        file: a .npy file to write the kernel to, tile by tile; called again after an interruption it goes on. The
            result is then memory-mapped from it. Beside it a record, ``file`` with ".tiles" added, keeps a digest of
            every tile, by which all are read back once: one that has been overwritten is computed again. One call
            writes at a time, others wait. The members of a ``group`` must be on one machine.
        group: a ``torch.distributed.ProcessGroup``, such as ``torch.distributed.group.WORLD``, that shares the tiles;
            its members are compared first. None means this process alone.

    Raises:
        ValueError: unknown ``kind``, unsuitable inputs, complex parameters, a module that mixes examples or is random
            (with the remedy), ``max_memory`` too small for one example, or members of the ``group`` that differ in
            their network, weights, inputs or other arguments.
        RuntimeError: examples that the network orders by their values, or treats otherwise differently; an entry that
            is not what its gradients give; or another
            member of the ``group`` failed; or ``file`` was changed by others while it was written.
        FileExistsError: ``file`` holds another computation, or has been cut or replaced.

    Source: Novak, Sohl-Dickstein & Schoenholz, "Fast Finite Width Neural Tangent Kernel" (ICML 2022).
    """
    workers = Workers(group)
    with workers.together(), exact_derivatives(_device(net)):
        kernel = prepare(net, x1, x2, kind, weights, max_memory, workers)
    with exact_derivatives(_device(net)), kernel.network.installed():
        if group is not None:
            kernel.check_alike(file)
        result = kernel.compute() if file is None else kernel.stream(file)
        check_an_entry(kernel, result)
        return result


def plan_ntk(
    net: nn.Module,
    x1: Tensor | tuple[Tensor, ...],
    x2: Tensor | tuple[Tensor, ...] | None = None,
    kind: str = "full",
    weights: dict[str, Tensor] | None = None,
    max_memory: int | str | None = None,
    group: dist.ProcessGroup | None = None,
) -> Plan:
    """How :func:`empirical_ntk` of the same arguments would compute the kernel; ``print`` it.

    It has the contraction of every parameter, tiles, passes through the network and FLOPs; of a ``group`` those of all
    its members together. Cost: two forward and three backward passes of three examples.

    Raises:
        ValueError: as :func:`empirical_ntk`; members of the ``group`` are not compared.
    """
    with exact_derivatives(_device(net)):
        return prepare(net, x1, x2, kind, weights, max_memory, Workers(group)).plan


def _device(net: nn.Module) -> torch.device:
    return next((parameter.device for parameter in net.parameters()), torch.device("cpu"))


def prepare(net, x1, x2=None, kind="full", weights=None, max_memory=None, workers: Workers | None = None) -> Kernel:
    """The planned kernel, not yet computed; for the arguments see :func:`empirical_ntk`."""
    workers = workers or Workers()
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
    if isinstance(net, Anchored):
        net = net.to_module()
    if not any(parameter.requires_grad and parameter.numel() for parameter in net.parameters()):
        raise ValueError(f"{type(net).__name__} has no trainable parameters: a tangent kernel needs at least one")
    network = Network(net, values_at(net, weights))
    left = as_inputs(x1, network.dtype)
    right = None if x2 is None else as_inputs(x2, network.dtype)
    _check_alike(left, right or left)
    with network.installed():
        findings = inspect_network(network, left)
    n2 = None if right is None else len(right[0])
    memory = parse_memory(max_memory)
    plan = make_plan(findings, kind, len(left[0]), n2, memory, network.dtype.itemsize, workers.count)
    return Kernel(network, plan, left, right, workers)


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


def as_inputs(x, dtype) -> tuple[Tensor, ...]:
    """A tensor, or several, as the inputs of a network; those that are floating as ``dtype``.

    Raises ValueError unless they have the same number of examples, one or more.
    """
    inputs = tuple(x) if isinstance(x, (tuple, list)) else (x,)
    if not inputs or not all(isinstance(t, Tensor) and t.dim() > 0 for t in inputs):
        raise ValueError("inputs must be a tensor, or a tuple of tensors, whose first dimension counts the examples")
    if len({len(t) for t in inputs}) > 1:
        raise ValueError(f"inputs have different numbers of examples: {', '.join(str(len(t)) for t in inputs)}")
    if len(inputs[0]) == 0:
        raise ValueError("inputs have no examples")
    return tuple(t.detach().to(dtype) if t.is_floating_point() else t for t in inputs)


def _check_alike(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> None:
    shapes = [[tuple(x.shape[1:]) for x in side] for side in (left, right)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"examples of x1 have the shapes {shapes[0]}, those of x2 {shapes[1]}: give alike ones, or use "
            "kernel_operator(net, x1, x2), which takes any"
        )
