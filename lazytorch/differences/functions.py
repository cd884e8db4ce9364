"""Custom ``torch.autograd.Function``: traced through their forward, with the gradient of their own backward.

The difference is that of what forward computes; its gradient is what backward gives at w, be it forward's or not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.utils._pytree as pytree
import torch.utils.checkpoint
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from ..transforms import active
from .decisions import node_of, tracer
from .ends import Ends
from .function import Function, once_differentiable
from .pair import UnsupportedOperator, difference, is_continuous, value

#: Keeps what torch 2.6 computes the forward of a checkpoint from again, which a trace never does.
KEEPS_INPUTS = getattr(torch.utils.checkpoint, "_NoopSaveInputs", None)
REMEDY = 'compute that outside it, or wrap with difference="direct" in float64'


class Inlined(NamedTuple):
    """A call of ``apply`` in a trace: its arguments, with nodes for tensors, the nodes inside, and those it returns."""

    apply: Callable
    leaves: list
    spec: Any
    inside: frozenset[fx.Node]
    outputs: list[fx.Node]

    @property
    def inputs(self) -> list[fx.Node]:
        """The nodes among the arguments."""
        return [leaf for leaf in self.leaves if isinstance(leaf, fx.Node)]

    def call(self, inputs: list) -> list[Tensor]:
        """The tensors that the function itself returns for these values of the nodes."""
        arriving = iter(inputs)
        leaves = [next(arriving) if isinstance(leaf, fx.Node) else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        outputs = pytree.tree_leaves(self.apply(*args, **kwargs))
        return [out for out in outputs if isinstance(out, Tensor)]

    def honour(self, epsilon: float, inputs: list, outputs: list) -> list:
        """The ``outputs``, differences or ends, with the gradient of the function's own backward."""
        which = [i for i, out in enumerate(outputs) if _moving(out) is not None]
        if not which or all(_moving(x) is None for x in inputs):
            return outputs
        if active():
            raise UnsupportedOperator(f"a custom autograd.Function is not run under torch.func's transforms: {REMEDY}")
        found = _Honoured.apply(
            self.call,
            which,
            [value(x, epsilon) for x in inputs],  # where its backward is taken
            len(which),
            *(_moving(outputs[i]) for i in which),
            *map(_moving, inputs),
        )
        honoured = list(outputs)
        for i, moved in zip(which, found, strict=True):
            honoured[i] = type(outputs[i])(outputs[i].primal, moved)
        return honoured


def _moving(argument) -> Tensor | None:
    """The part of a Pair or of Ends through which its gradient passes."""
    if isinstance(argument, Ends):
        return argument.final if is_continuous(argument.final) else None
    return difference(argument)


class _Honoured(Function):
    @staticmethod
    def forward(ctx, call, which, at_w, outputs, *differences):
        ctx.call, ctx.which, ctx.inputs = call, which, differences[outputs:]
        ctx.save_for_backward(*at_w)
        return tuple(d.view_as(d) for d in differences[:outputs])

    @staticmethod
    @once_differentiable
    def backward(ctx, *cotangents):
        count = len(ctx.inputs)
        wanted = [d is not None and w for d, w in zip(ctx.inputs, ctx.needs_input_grad[-count:], strict=True)]
        with torch.enable_grad():
            points = [t.detach().requires_grad_(w) for t, w in zip(ctx.saved_tensors, wanted, strict=True)]
            outputs = ctx.call(points)
        moving = [(outputs[i], g) for i, g in zip(ctx.which, cotangents, strict=True) if outputs[i].requires_grad]
        asked = [point for point, w in zip(points, wanted, strict=True) if w]
        found: Iterator = iter(map(torch.zeros_like, asked))
        if moving:
            outputs, cotangents_given = zip(*moving, strict=True)
            found = iter(torch.autograd.grad(outputs, asked, cotangents_given, materialize_grads=True))
        return (None,) * (4 + len(cotangents)) + tuple(next(found) if w else None for w in wanted)


class _Context:
    """What a forward is given in place of autograd's context: it keeps whatever it is told."""

    def __init__(self, needs_input_grad: tuple[bool, ...]):
        self.needs_input_grad = needs_input_grad

    def _nothing(self, *_):
        pass

    save_for_backward = save_for_forward = mark_dirty = mark_non_differentiable = set_materialize_grads = _nothing


@contextmanager
def inlining(calls: list[Inlined]) -> Iterator[None]:
    """Within the context a user's function is traced through its forward, and noted in ``calls``."""
    own = torch.autograd.Function.__dict__["apply"]

    def apply(cls, *args, **kwargs):
        if get_proxy_mode() is None:  # in another thread
            return own.__get__(None, cls)(*args, **kwargs)
        if cls is KEEPS_INPUTS:
            return cls.forward(*args)
        if cls.__module__.startswith("torch."):
            return own.__get__(None, cls)(*args, **kwargs)
        return _inline(cls, own, calls, args, kwargs)

    torch.autograd.Function.apply = classmethod(apply)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        torch.autograd.Function.apply = own  # type: ignore[method-assign]


def _inline(cls, own, calls: list[Inlined], args: tuple, kwargs: dict):
    graph = tracer().graph
    given, spec = pytree.tree_flatten((args, kwargs))
    leaves = [node_of(leaf) if isinstance(leaf, Tensor) else leaf for leaf in given]
    before = set(graph.nodes)
    if cls.setup_context is torch.autograd.function._SingleLevelFunction.setup_context:
        outputs = cls.forward(_Context(tuple(isinstance(a, Tensor) for a in args)), *args, **kwargs)
    else:
        outputs = cls.forward(*args, **kwargs)
    if any(node_of(t) is not node for t, node in zip(given, leaves, strict=True) if isinstance(t, Tensor)):
        raise UnsupportedOperator(f"the autograd.Function {cls.__name__} works in place on an argument: {REMEDY}")
    # Each output is a node of its own, even if it is one of the arguments.
    outputs = pytree.tree_map_only(Tensor, torch.clone, outputs)
    found = [node_of(out) for out in pytree.tree_leaves(outputs) if isinstance(out, Tensor)]
    inside = frozenset(node for node in graph.nodes if node not in before)
    if any(torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) for node in inside):
        raise UnsupportedOperator(f"the autograd.Function {cls.__name__} draws random numbers: {REMEDY}")

    def honest(*args, **kwargs):
        return own.__get__(None, cls)(*args, **kwargs)

    calls.append(Inlined(honest, leaves, spec, inside, found))
    return outputs
