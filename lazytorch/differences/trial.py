"""Whether what is listed without being selected changes nothing, as where a mixture computes its experts row by row.

A trace may suppose that every list has elements, as if every expert had rows: an empty one is given one. What Python
skips at an empty list must come to nothing then. Both are tried at w_0, the second with other choices than the module's
own, by which every expert goes without rows in turn; every random number is 1, and what is read where nothing is
selected is changed, as rows of an example may be alike.
"""

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..functional import call, forward_differentiable
from .decisions import Decisions
from .lists import length_of, listed, listed_after_others, listed_before_others, listed_with_more, shape_along_list
from .pair import is_continuous
from .supposing import Suppositions

aten = torch.ops.aten

#: At most so many times others are chosen, until all that is supposed has been seen to be otherwise.
TRIALS = 4
#: How a list holds what is selected, and that only or all else.
WAYS = (listed, listed_after_others, listed_before_others)
#: Operators that choose.
CHOOSING = (aten.topk.default, aten.max.dim, aten.argmax.default, aten.sort.default, aten.sort.stable)


def is_harmless(
    module: nn.Module,
    function,
    traced: fx.GraphModule,
    selected: dict,
    example: list[Tensor],
    decisions: Decisions,
    suppositions: Suppositions,
) -> bool:
    """As :func:`comes_to_nothing`, near the ``example`` that the ``function`` of the ``module`` was traced with."""

    def run(*tensors):
        weights, args, kwargs = function.arguments(tensors)
        return call(copy.deepcopy(module), weights, args, kwargs)

    traced.recompile()
    parameters = dict(module.named_parameters())
    with torch.random.fork_rng({t.device for t in example if t.is_cuda}), forward_differentiable():
        weights, inputs = example[: len(function.names)], example[len(function.names) :]
        moves = [name in parameters or _is_alike(t) for name, t in zip(function.names, weights, strict=True)]
        weights = [_moved(t) if move and is_continuous(t) else t for t, move in zip(weights, moves, strict=True)]
        varied = [_moved(t) if _is_alike(t) else t for t in inputs]
        moved = [*weights, *(varied if decisions.hold(varied) else inputs)]
        return comes_to_nothing(traced, selected, suppositions, moved, run)


def _moved(weight):
    """Elsewhere, as at w_0 a last layer may be 0."""
    return weight + torch.randn_like(weight) * (weight.std(correction=0) / 4 + 0.01)


def _is_alike(x) -> bool:
    """Whether an input or a buffer is all zeros, say, beside which little could be seen."""
    return is_continuous(x) and not isinstance(x, FakeTensor) and x.numel() > 0 and bool((x == x.flatten()[0]).all())


@torch.no_grad()
def comes_to_nothing(
    traced: fx.GraphModule,
    selected: dict[Any, fx.Node],
    suppositions: Suppositions,
    example: list[Tensor],
    run: Callable[..., Any],
) -> bool:
    """Whether the lists of a trace may hold more than is selected, and whatever it supposes makes no difference.

    ``selected`` is what :func:`list_selected` returns, ``run`` the module itself as a function of the tensors of the
    ``example``.
    """
    if any(isinstance(t, FakeTensor) for t in example):
        return True  # a rehearsal
    with suppress(Exception):  # of what has no elements, say
        with _Altered():
            alone, *others = [_Trial(traced, selected, way).on(example) for way in WAYS]
            if not all(_agree(alone, other) for other in others):
                return False
        unseen = {node for node in traced.graph.nodes if suppositions.test_of(node)}
        for number in range(TRIALS):
            if not unseen:
                return True
            trial = _Trial(traced, selected, listed_with_more, suppositions)
            with _Altered(number):
                if not _agree(trial.on(example), _on(example, run)):
                    return False
            unseen -= trial.otherwise
        return not unseen
    return False


def _some(mask: Tensor) -> Tensor:
    """The mask, or half of all places where it is true everywhere or nowhere, so that there are some and others."""
    half = (torch.arange(mask.numel(), device=mask.device) < mask.numel() // 2).view_as(mask)
    return torch.where(mask.all() | ~mask.any(), half, mask)


def _on(example: list[Tensor], run: Callable) -> list:
    """What it returns, and what the tensors are afterwards."""
    tensors = [t.clone() for t in example]
    return [*pytree.tree_leaves(run(*tensors)), *tensors]


class _Trial(fx.Interpreter):
    """Runs a trace, its lists made in a certain ``way``; notes what is ``otherwise`` than it supposes."""

    def __init__(self, traced: fx.GraphModule, selected: dict, way: Callable, suppositions: Suppositions | None = None):
        super().__init__(traced)
        self._way, self._suppositions, self.otherwise = way, suppositions, set()
        self._lengths, self._selected = {node: length for length, node in selected.items()}, {}

    def on(self, example: list[Tensor]) -> list:
        return _on(example, self.run)

    def run_node(self, node):
        if node.target is listed:
            (value,), _ = self.fetch_args_kwargs_from_env(node)
            result = self._way(value if self._suppositions else _some(value))
        else:
            value = result = self._changed(node, super().run_node(node))
        if self._suppositions and (test := self._suppositions.test_of(node)) and not test(value):
            self.otherwise.add(node)
        if node in self._lengths:
            self._selected[self._lengths[node]] = result
        return result

    def _changed(self, node, result):
        """What is read by a list, with other values where nothing is selected."""
        length = _of_list(node)
        if length not in self._selected or any(_of_list(argument) == length for argument in node.all_input_nodes):
            return result
        selected = self._selected[length].view(shape_along_list(node.meta["val"]))
        others = torch.arange(result.numel(), device=result.device).cos().view(result.shape)
        return torch.where(selected, result, 2 * result + others.to(result.dtype))


def _of_list(node) -> Any:
    """The length of a list of floating numbers."""
    val = node.meta.get("val")
    return length_of(val) if isinstance(val, Tensor) and is_continuous(val) else None


class _Altered(TorchDispatchMode):
    """Random numbers are 1, and some candidates are out of the running: others for each ``number``."""

    def __init__(self, number: int | None = None):
        super().__init__()
        self._number = number

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in CHOOSING and self._number is not None and args[0].is_floating_point():
            return _chosen(function, self._number, args, kwargs)
        out = function(*args, **kwargs)
        if function is aten.native_dropout.default:
            return args[0] / (1 - args[1]), torch.ones_like(out[1])
        return out.fill_(1) if torch.Tag.nondeterministic_seeded in function.tags else out


def _chosen(function, number: int, args: tuple, kwargs: dict):
    """As many as can be are out, in a window that moves with the number."""
    x, given = args[0], {a.name: a.default_value for a in function._schema.arguments}
    given |= dict(zip(given, args, strict=False)) | kwargs
    dim, largest = given["dim"], given.get("largest", given.get("descending", True))
    if dim is None or not x.dim():
        return function(*args, **kwargs)
    size = x.shape[dim]
    out = size - given.get("k", size // 2 if "sort" in str(function) else 1)
    places = torch.arange(size, device=x.device)
    window = (places - number * out) % size < out
    window = window.view([-1] + [1] * (x.dim() - 1 - dim % x.dim()))
    found = function(x.masked_fill(window, -torch.inf if largest else torch.inf), *args[1:], **kwargs)
    if isinstance(found, Tensor):
        return found
    indices = found[1]
    if indices.dim() < x.dim():
        return x.gather(dim, indices.unsqueeze(dim)).squeeze(dim), indices
    return x.gather(dim, indices), indices


def _agree(left: list, right: list) -> bool:
    return len(left) == len(right) and all(map(_close, left, right))


def _close(left, right) -> bool:
    """Up to rounding, which is that of products of other sizes; what is None was no tensor."""
    if left is None or right is None:
        return True
    if not isinstance(left, Tensor) or not isinstance(right, Tensor):
        return left == right
    if not is_continuous(left):
        return torch.equal(left, right)
    precision = torch.finfo(left.dtype).eps ** (2 / 3)
    size = left[left.isfinite()].abs().amax().item() if left.isfinite().any() else 0.0
    return torch.allclose(left, right, rtol=precision, atol=precision * size, equal_nan=True)
