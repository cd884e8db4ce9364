"""Functions with kinks: piecewise linear ones, ELU, and maxima and minima of two tensors.

Those of one kink are composed of ReLU; the others clamp. Their gradients are those of the piece that w lies on, which
the differences decide.
"""

import functools

import torch
from torch.utils._python_dispatch import _disable_current_modes

from ..transforms import outside
from .derivative import derivative
from .function import Function, add, once_differentiable
from .jumps import continuous
from .pair import RULES, Pair, difference, in_range, primal, rule, varies
from .pointwise import pointwise, scaled
from .relu import rectified

aten = torch.ops.aten


@rule(aten.abs)
def absolute(epsilon, out, x):
    """relu(x) + relu(-x)."""
    return rectified(epsilon, x) + rectified(epsilon, scaled(x, -1))


@rule(aten.leaky_relu)
def leaky_relu(epsilon, out, x, negative_slope=0.01):
    """relu(x) + slope min(x, 0)."""
    return torch.lerp(rectified(epsilon, x), x.difference, negative_slope)


@rule(aten.elu)
def elu(epsilon, out, x, alpha=1, scale=1, input_scale=1):
    """scale (relu(x) + alpha (exp(input_scale min(x, 0)) - 1)); SELU and CELU are this with other constants."""
    positive = rectified(epsilon, x)
    negative = scaled(Pair(x.primal.clamp(max=0), x.difference - positive), input_scale)
    return scale * (positive + alpha * RULES[aten.exp](epsilon, None, negative))


class _Between(Function):
    """Of c(x) = min(max(x, low), high): min(max(a - c(a) + eps d, low - c(a)), high - c(a)) / eps.

    At eps = 0, d where low < a < high. The gradient is 0 on the bounds unless they are ``inside``.
    """

    @staticmethod
    def forward(ctx, epsilon, d, a, low, high, inside=False):
        above_low, below_high = (torch.ge, torch.le) if inside else (torch.gt, torch.lt)
        if epsilon == 0:
            gate = above_low(a, low) & below_high(a, high)
            result = d * gate
        else:
            c = a.clamp(low, high)
            result = add(torch.sub(a, c), d, epsilon)
            below, above = low - c, c.neg_().add_(high)
            gate = above_low(result, below).logical_and_(below_high(result, above))
            result.clamp_min_(below).clamp_max_(above).div_(epsilon)
        ctx.save_for_backward(gate)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (gate,) = ctx.saved_tensors
        return None, gate * gradient, None, None, None, None


@rule(aten.hardtanh)
def hardtanh(epsilon, out, x, min_val=-1, max_val=1, inside=False):
    return in_range(lambda epsilon, a, d: _Between.apply(epsilon, d, a, min_val, max_val, inside), epsilon, *x)


@rule(aten.clamp.default)
def clamp(epsilon, out, x, min=None, max=None):
    low, high = -torch.inf if min is None else min, torch.inf if max is None else max
    return hardtanh(epsilon, out, x, low, high, _bounds_move())


@functools.cache
def _bounds_move() -> bool:
    """Whether torch's gradient of a clamp is 1 on its bounds as in 2.6, or 0 as later; asked outside of any trace."""
    with outside(), _disable_current_modes(), torch.inference_mode(False), torch.enable_grad():
        x = torch.zeros((), device="cpu", requires_grad=True)
        return bool(torch.autograd.grad(x.clamp(0), x)[0])


@rule(aten.relu6)
def relu6(epsilon, out, x):
    return hardtanh(epsilon, out, x, 0, 6)


@rule(aten.hardsigmoid)
def hardsigmoid(epsilon, out, x):
    """(clamp(x, -3, 3) + 3) / 6."""
    return hardtanh(epsilon, out, x, -3, 3) / 6


@pointwise(aten.hardswish)
def hardswish(epsilon, x):
    """x hardsigmoid(x), a product."""
    return x.difference * aten.hardsigmoid(x.value(epsilon)) + x.primal * hardsigmoid(epsilon, None, x)


def _extremum(function, epsilon, out, *arguments):
    """A function that commutes with shifts and positive scales, of the moves of its arguments from ``out``, over eps.

    These are d + (a - out) / eps, so the differences decide ties; kinks have torch's gradient, as it differentiates.
    """
    if epsilon == 0:
        return _derivative(function, arguments)
    arguments = [continuous(argument, epsilon, out.dtype) for argument in arguments]
    return function(*(None if argument is None else _moved(epsilon, argument, out) for argument in arguments))


def _derivative(function, arguments):
    """One argument at a time, since torch 2.6 adds to one difference how much the other exceeds it."""
    moving = [i for i, argument in enumerate(arguments) if varies(argument)]
    alone = ([a if i == j else primal(a) for j, a in enumerate(arguments)] for i in moving)
    return functools.reduce(torch.add, (derivative(function, *each) for each in alone))


def _moved(epsilon, argument, out):
    start, d = primal(argument), difference(argument)
    move = torch.where(start == out, 0, start - out) / epsilon
    return move if d is None else d + move


@rule(aten.clamp.Tensor)
def clamp_by_tensors(epsilon, out, x, min=None, max=None):
    return _extremum(torch.clamp, epsilon, out, x, min, max)


for _operator in (aten.maximum, aten.minimum, aten.fmax, aten.fmin):
    rule(_operator)(functools.partial(_extremum, _operator))
