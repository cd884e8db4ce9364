"""Which ReLU units are active, and how many stay so between two weights."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from .functional import call, values_at
from .processes import Processes

aten = torch.ops.aten
BATCH = 250


class ActivationCounts:
    """How many units are active at both weights or at neither, by ReLU call, summed over any number of batches.

    Called as ``counts(name, active_at_w_0, active_at_w)`` with boolean tensors of one shape, as
    ``CenteredModel.observing`` does for every ReLU of a forward pass. The sums stay on the device until
    :meth:`stability` reads them. Cost of a call: one comparison and one sum of the units.
    """

    def __init__(self):
        self.same: dict[str, Tensor] = {}
        self.total: Counter = Counter()

    def __call__(self, name: str, active_at_w_0: Tensor, active_at_w: Tensor) -> None:
        same = (active_at_w_0 == active_at_w).sum()
        self.same[name] = self.same[name] + same if name in self.same else same
        self.total[name] += active_at_w.numel()

    def stability(self, processes: Processes | None = None) -> dict[str, Any]:
        """{"overall": float, "layers": {name: float}} as of :func:`activation_stability`; waits for the device once.

        Of the batches that all of ``processes`` have seen.
        """
        stacked = torch.stack(list(self.same.values())).tolist() if self.same else []
        own = {name: (count, self.total[name]) for name, count in zip(self.same, stacked, strict=True)}
        same, total = Counter(), Counter()
        for seen in (processes or Processes()).gather(own):
            same.update({name: count for name, (count, _) in seen.items()})
            total.update({name: units for name, (_, units) in seen.items()})
        layers = {name: count / total[name] for name, count in same.items()}
        return {"overall": sum(layers.values()) / len(layers) if layers else float("nan"), "layers": layers}


@torch.no_grad()
def activation_stability(
    net: nn.Module, weights_0: dict[str, Tensor], weights_t: dict[str, Tensor], x: Tensor | tuple[Tensor, ...]
) -> dict[str, Any]:
    """The share of ReLU units of ``net`` that are active at both weights or at neither, over the inputs ``x`` (n, ...).

    Returns {"overall": float, "layers": {name: float}}: a unit is active where its preactivation is > 0; a layer is one
    ReLU call, named by its module's path (for a functional call that of the module it stands in, with ``.relu``; a
    repeated call has ``#2``, ``#3`` ...); overall is the unweighted mean over layers (Chizat, Oyallon & Bach 2019,
    section 3.2), nan if there is no ReLU. Cost: two forward passes in the mode that ``net`` is in.

    ``weights_0`` and ``weights_t`` are dicts name -> tensor as for ``empirical_ntk``; buffers may be among them. ``x``
    may be a tuple of tensors, the arguments of ``net``.

    Raises:
        ValueError: weights that ``net`` does not have, or of other shapes.
    """
    return activation_counts(net, weights_0, weights_t, x).stability()


@torch.no_grad()
def activation_counts(
    net: nn.Module, weights_0: dict[str, Tensor], weights_t: dict[str, Tensor], x: Tensor | tuple[Tensor, ...]
) -> ActivationCounts:
    """What :func:`activation_stability` counts, on ``x`` alone."""
    start, end = values_at(net, weights_0), values_at(net, weights_t)
    counts = ActivationCounts()
    for batch in zip(*(t.split(BATCH) for t in (x if isinstance(x, tuple) else (x,))), strict=True):
        at_end = dict(_signs(net, end, batch))
        for name, active in _signs(net, start, batch):
            counts(name, active, at_end[name])
    return counts


@torch.no_grad()
def zero_preactivations(net: nn.Module, x: Tensor) -> float:
    """The share of ReLU preactivations that are exactly 0 on ``x``: kinks, where derivatives are a convention."""
    with _recorded(net) as calls:
        net(x)
    count = sum(preactivation.numel() for _, preactivation in calls)
    return sum((p == 0).sum().item() for _, p in calls) / count if count else 0.0


def relu_name(path: str, module: nn.Module | None, seen: Counter) -> str:
    """The name of the next ReLU call, in which ``module``, at ``path``, is the innermost one that runs."""
    name = path if isinstance(module, nn.ReLU) else f"{path}.relu".lstrip(".")
    seen[name] += 1
    return name if seen[name] == 1 else f"{name}#{seen[name]}"


def _signs(net, values, inputs) -> Iterator[tuple[str, Tensor]]:
    dtype = next(t.dtype for t in values.values() if t.is_floating_point())
    values = values | {name: values[name].clone() for name, _ in net.named_buffers()}  # training mode updates them
    with _recorded(net) as calls:
        call(net, values, tuple(t.to(dtype) if t.is_floating_point() else t for t in inputs))
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
                path, module = stack[-1] if stack else ("", None)
                calls.append((relu_name(path, module, seen), args[0].clone()))
            return operator(*args, **(kwargs or {}))

    try:
        with Recorder():
            yield calls
    finally:
        for hook in hooks:
            hook.remove()
