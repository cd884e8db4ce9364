"""Softmax, log-softmax and logsumexp over one dimension."""

import functools
import math

import torch

from .exponentials import growth
from .function import Function, once_differentiable
from .jumps import is_compiling
from .pair import Pair, apply, rule
from .pointwise import exp, scaled_by
from .reading import within
from .standardisation import wide

aten = torch.ops.aten


def _centered(epsilon, x, dim, logarithm):
    """The mean m = sum_j s_j d_j, d - m, and the difference of logsumexp for d - m, where log s = log_softmax(a).

    By convexity sum_j s_j exp(eps (d_j - m)) = 1 + eps T has T >= 0, so log1p(eps T) / eps, T the sum of the
    exponentials' differences, never cancels; above eps T = 1 it may overflow, and logsumexp(log s + eps (d - m)) / eps
    does not.
    """
    mean = (logarithm.exp() * x.difference).sum(dim, keepdim=True)
    centered = Pair(logarithm, x.difference - mean)
    total = exp(epsilon, centered).sum(dim, keepdim=True)
    rest = scaled_by(epsilon, torch.log1p, total)
    if epsilon > 0:
        far = torch.logsumexp(centered.value(epsilon), dim, keepdim=True) / epsilon
        rest = torch.where(epsilon * total <= 1, rest, far)
    return mean, centered.difference, rest


def logsumexp_difference(epsilon, x, dim, keepdim=False):
    """m + log(1 + T) / eps."""
    shifted = x.primal - x.primal.amax(dim, keepdim=True)
    logarithm = shifted - torch.logsumexp(shifted, dim, keepdim=True)  # over several dimensions, perhaps
    mean, _, rest = _centered(epsilon, x, dim, logarithm)
    result = mean + rest
    return result if keepdim else result.squeeze(dim)


def log_softmax_difference(epsilon, x, dim):
    """d - m - log(1 + T) / eps."""
    _, d, rest = _centered(epsilon, x, dim, torch.log_softmax(x.primal, dim))
    return d - rest


#: Of expm1(x) / x, from the highest power on; the rest is 3e-9 of it where |x| <= 1.
TAYLOR = [1 / math.factorial(k) for k in range(11, 0, -1)]


def _growth_by_series(epsilon, d):
    """expm1(eps d) / eps where |eps d| <= 1."""
    x = epsilon * d
    return d * functools.reduce(lambda total, factor: total * x + factor, TAYLOR)


class _Softmax(Function):
    """With c = d - sum_j s_j d_j, e = expm1(eps c) / eps and T = sum_j s_j e_j: s (e - T) / (1 + eps T).

    Where an |eps c_j| is above 1 in a row, e may overflow, and the subtraction of the softmax at w loses nothing.
    ``out`` is the softmax s at w_0, ``function`` the operator, whose backward takes its value at w. Short types are
    computed with in float32.
    """

    @staticmethod
    def forward(ctx, epsilon, function, dim, a, d, out):
        ctx.dim, ctx.dtype, result_type = dim, a.dtype, out.dtype
        a, d, out = map(wide, (a, d, out))
        at_w = out if epsilon == 0 else function(Pair(a, d).value(epsilon))
        ctx.save_for_backward(at_w.to(result_type))
        mean = (out * d).sum(dim, keepdim=True)
        centered = (d - mean).masked_fill_(a == -torch.inf, 0)  # a masked score has no part, wherever it moves

        def near():
            in_registers = epsilon > 0 and is_compiling() and d.dtype == torch.float32  # where series cost least
            grown = (_growth_by_series if in_registers else growth)(epsilon, centered)
            total = (out * grown).sum(dim, keepdim=True)
            return grown.sub_(total).mul_(out).div_(total.mul_(epsilon).add_(1))

        if epsilon == 0:
            return near().to(result_type)
        size = centered.abs().amax(dim, keepdim=True)
        return within(size, 1 / epsilon, near, lambda: (at_w - out).div_(epsilon)).to(result_type)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (at_w,) = ctx.saved_tensors
        found = aten._softmax_backward_data(gradient, at_w, ctx.dim, at_w.dtype)
        return None, None, None, None, found.to(ctx.dtype), None


@rule(aten.logsumexp)
def logsumexp(epsilon, out, x, dim, keepdim=False):
    function = functools.partial(torch.logsumexp, dim=dim, keepdim=keepdim)
    return _apply_wide(functools.partial(logsumexp_difference, dim=dim, keepdim=keepdim), function, epsilon, out, x)


@rule(aten._log_softmax)
def log_softmax(epsilon, out, x, dim, half_to_float):
    function = functools.partial(aten._log_softmax, dim=dim, half_to_float=half_to_float)
    return _apply_wide(functools.partial(log_softmax_difference, dim=dim), function, epsilon, out, x)


def _apply_wide(formula, function, epsilon, out, x):
    """As :func:`apply`, with the formula of short types in float32."""
    return apply(lambda epsilon, x: formula(epsilon, Pair(*map(wide, x))).to(out.dtype), function, epsilon, x)


@rule(aten._softmax)
def softmax(epsilon, out, x, dim, half_to_float):
    function = functools.partial(aten._softmax, dim=dim, half_to_float=False)  # of no short type there
    return _Softmax.apply(epsilon, function, dim, *x, out)


@rule(aten._safe_softmax)
def safe_softmax(epsilon, out, x, dim, dtype=None):
    """That of scaled dot-product attention, where a row of -inf (nothing to attend to) gives zeros."""
    return _Softmax.apply(epsilon, functools.partial(aten._safe_softmax, dim=dim, dtype=dtype), dim, *x, out)
