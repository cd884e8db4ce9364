"""Which ReLU units are active, and how many stay so between two weights."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..functional import call
from ..kernels.tangent import values_at

aten = torch.ops.aten
BATCH = 250


@torch.no_grad()
def activation_stability(net: nn.Module, weights_0: dict, weights_t: dict, x: Tensor) -> dict:
    """The share of ReLU units of ``net`` that are active at both weights or at neither, over the inputs ``x`` (n, ...).

    Returns {"overall": float, "layers": {name: float}}: a unit is active where its preactivation is > 0; a layer is one
    ReLU call, named by its module's path (for a functional call that of the module it stands in, with ``.relu``; a
    repeated call has ``#2``, ``#3`` ...); overall is the unweighted mean over layers (Chizat, Oyallon & Bach 2019,
    section 3.2), nan if there is no ReLU. Cost: two forward passes in the mode that ``net`` is in.

    ``weights_0`` and ``weights_t`` are dicts name -> tensor as for ``empirical_ntk``; buffers may be among them.
    """
    start, end = values_at(net, weights_0), values_at(net, weights_t)
    same: Counter = Counter()
    total: Counter = Counter()
    for batch in x.split(BATCH):
        at_start, at_end = (dict(_signs(net, values, batch)) for values in (start, end))
        for name, active in at_start.items():
            same[name] = same[name] + (active == at_end[name]).sum()
            total[name] += active.numel()
    layers = {name: same[name].item() / total[name] for name in total}
    return {"overall": sum(layers.values()) / len(layers) if layers else float("nan"), "layers": layers}


@torch.no_grad()
def zero_preactivations(net: nn.Module, x: Tensor) -> float:
    """The share of ReLU preactivations that are exactly 0 on ``x``: kinks, where derivatives are a convention."""
    with _recorded(net) as calls:
        net(x)
    count = sum(preactivation.numel() for _, preactivation in calls)
    return sum((p == 0).sum().item() for _, p in calls) / count if count else 0.0


def _signs(net, values, x) -> Iterator[tuple[str, Tensor]]:
    dtype = next(t.dtype for t in values.values() if t.is_floating_point())
    with _recorded(net) as calls:
        call(net, values, (x.to(dtype) if x.is_floating_point() else x,))
    return ((name, preactivation > 0) for name, preactivation in calls)


@contextmanager
def _recorded(net: nn.Module) -> Iterator[list[tuple[str, Tensor]]]:
    """Yields a list that receives (name, preactivation) of every ReLU call of ``net`` while the context is open."""
    stack, calls, seen = [], [], Counter()
    hooks = []
    for path, module in net.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda module, _, path=path: stack.append((path, module))))
        hooks.append(module.register_forward_hook(lambda *_: stack.pop() and None, always_call=True))

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            if operator in (aten.relu.default, aten.relu_.default):
                calls.append((_name(stack, seen), args[0].clone()))
            return operator(*args, **(kwargs or {}))

    try:
        with Recorder():
            yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _name(stack, seen: Counter) -> str:
    path, module = stack[-1] if stack else ("", None)
    name = path if isinstance(module, nn.ReLU) else f"{path}.relu".lstrip(".")
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}#{seen[name]}"
