"""The autograd functions that rules are made of: differentiated once, in eager mode and under ``torch.func`` alike."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._functorch import autograd_function

from ..transforms import active

#: Whether gradients that nothing asks for may be missing; vmap of torch 2.6, which has no such function, needs zeros.
MAY_MISS = hasattr(autograd_function, "unpack_outputs")
TWICE = (
    "the gradient of a model that propagates pairs is not differentiated again (a gradient penalty, a Hessian): use "
    'lazytorch.linearize at alpha = inf, or difference="direct" in float64'
)


def once_differentiable(backward: Callable) -> Callable:
    """Refuses to be differentiated; torch's, which looks at the incoming gradient alone, drops what depends on theta.

    Raises:
        RuntimeError: with ``create_graph=True``.
    """

    @functools.wraps(backward)
    def once(ctx, *gradients):
        if torch.is_grad_enabled():
            raise RuntimeError(TWICE)
        return _where_any(backward, ctx, gradients)

    return once


def _where_any(backward: Callable, ctx, gradients: Sequence) -> Any:
    """What ``backward`` gives, or no gradients where none has come."""
    if all(gradient is None for gradient in gradients):
        return (None,) * len(ctx.needs_input_grad)
    return backward(ctx, *gradients)


class Function(torch.autograd.Function):
    """``forward(ctx, *args)`` returns a tensor or a tuple, ``backward`` is :func:`once_differentiable`."""

    @classmethod
    def apply(cls, *args) -> Any:
        """As torch's; under a transform by :class:`_Transformed`."""
        if not active():
            return super().apply(*args)
        context = _Context()
        outputs = _Transformed.apply(cls, context, *args)
        own = [out.detach() if i in context.constant else out for i, out in enumerate(outputs[: context.count])]
        return tuple(own) if context.several else own[0]


class _Context:
    """What forward is given in place of autograd's context, and backward after it."""

    saved_tensors: Sequence[Tensor | None] = ()
    needs_input_grad: Sequence[bool] = ()
    count, several, constant = 1, False, ()

    def save_for_backward(self, *tensors):
        self.saved_tensors = tensors

    def mark_non_differentiable(self, *tensors):
        self.not_differentiable = tensors

    def set_materialize_grads(self, _):
        """Whether they are is up to :class:`_Transformed`."""


class _Transformed(torch.autograd.Function):
    """Any :class:`Function`, whose saved tensors are further outputs, as transforms must see them."""

    generate_vmap_rule = True

    @staticmethod
    def forward(function, context, *args):
        outputs = function.forward(context, *args)
        context.several = isinstance(outputs, tuple)
        outputs = outputs if context.several else (outputs,)
        constant, context.not_differentiable = getattr(context, "not_differentiable", ()), ()
        context.count = len(outputs)
        context.constant = {i for i, out in enumerate(outputs) if any(out is t for t in constant)}
        saved, context.saved_tensors = context.saved_tensors, ()
        return (*outputs, *(None if t is None else t.view_as(t) for t in saved))

    @staticmethod
    def setup_context(ctx, inputs, outputs):
        ctx.function, ctx.context, *_ = inputs
        ctx.save_for_backward(*outputs[ctx.context.count :])
        ctx.set_materialize_grads(not MAY_MISS)

    @staticmethod
    def backward(ctx, *gradients):
        count, saved = ctx.context.count, ctx.saved_tensors
        if not MAY_MISS:
            saved = [None if t is None else _Once.apply(t) for t in saved]
        elif any(gradient is not None for gradient in gradients[count:]):
            raise RuntimeError(TWICE)
        context = copy.copy(ctx.context)
        context.saved_tensors, context.needs_input_grad = saved, ctx.needs_input_grad[2:]
        return None, None, *_where_any(ctx.function.backward.__wrapped__, context, gradients[:count])


class _Once(torch.autograd.Function):
    """A saved tensor as it is, through which no gradient passes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Nothing is kept."""

    @staticmethod
    def backward(ctx, gradient):
        raise RuntimeError(TWICE)


def add_product(total: Tensor, left: Tensor, right: Tensor, value: float = 1) -> Tensor:
    """total + value left right, in the memory of ``total`` unless a transform runs, which has no such operator."""
    return (torch.addcmul if active() else Tensor.addcmul_)(total, left, right, value=value)


def add(total: Tensor, other: Tensor, value: float = 1) -> Tensor:
    """total + value other, likewise: a transform may have a batch of the other alone."""
    return (torch.add if active() else Tensor.add_)(total, other, alpha=value)


def vjp(function: Callable, points: Sequence[Tensor], gradient: Tensor) -> Sequence[Tensor]:
    """The gradients of <function(*points), gradient>."""
    if active():
        return torch.func.vjp(function, *points)[1](gradient)
    with torch.enable_grad():
        points = [point.detach().requires_grad_() for point in points]
        result = function(*points)
    return torch.autograd.grad(result, points, gradient)
