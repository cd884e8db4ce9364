"""Elementary functions of one tensor: exponentials, logarithms, powers of one half, circular and hyperbolic functions.

Each is an identity that subtracts nothing, after Kahan & Fateman, "Symbolic Computation of Divided Differences" (1999).
Throughout, b = a + eps d is the value at w, and the difference is (phi(b) - phi(a)) / eps.
"""

import functools
import math

import torch
from torch import Tensor

from .exponentials import growth
from .function import Function, once_differentiable
from .jumps import is_compiling
from .pair import Pair, apply, in_range, placed, rule

aten = torch.ops.aten


def pointwise(*operators, backward=None):
    """Register ``formula(epsilon, x, *args, **kwargs)`` for functions of one Pair and further constants.

    The gradient is the operator's own at w (see :func:`apply`), so formulas run without graph and may branch;
    ``backward(gradient, value, *args, **kwargs)`` is torch's kernel for it, if it has one.
    """

    def register(formula):
        for operator in operators:
            rule(operator)(functools.partial(_pointwise, operator, formula, backward))
        return formula

    return register


def _pointwise(operator, formula, backward, epsilon, out, x, *args, **kwargs):
    def difference(epsilon, x):
        return _in_pieces(lambda epsilon, x: formula(epsilon, x, *args, **kwargs), epsilon, x)

    if backward is not None:
        return _WithKernel.apply(difference, lambda g, x: backward(g, x, *args, **kwargs), epsilon, *x)
    return apply(difference, lambda x: operator(x, *args, **kwargs), epsilon, x)


class _WithKernel(Function):
    """As :func:`apply` of a function of one Pair, whose gradient is one kernel."""

    @staticmethod
    def forward(ctx, formula, backward, epsilon, a, d):
        ctx.backward_kernel = backward
        x = placed(Pair(a, d), epsilon)
        ctx.save_for_backward(x.at_w)
        return formula(epsilon, x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return None, None, None, None, ctx.backward_kernel(gradient, *ctx.saved_tensors)


#: Elements of a tensor that a processor's cache holds together with the temporaries of a formula.
PIECE = 2**18


def _in_pieces(formula, epsilon, x):
    """The formula on slices along the first dimension, as its temporaries would not fit the cache otherwise.

    A compiler keeps them in registers.
    """

    def of_parts(epsilon, a, d):
        return formula(epsilon, Pair(a, d))

    a, d = x
    if a.device.type != "cpu" or a.numel() <= PIECE or is_compiling():
        return in_range(of_parts, epsilon, a, d) if a.dtype == torch.float16 else formula(epsilon, x)
    result = torch.empty_like(a)
    rows = max(1, PIECE * len(a) // a.numel())
    for part, *pair in zip(*(t.split(rows) for t in (result, a, d)), strict=True):
        part.copy_(in_range(of_parts, epsilon, *pair))
    return result


def scaled_by(epsilon: float, function, d: Tensor) -> Tensor:
    """function(eps d) / eps of a function that is x + O(x^2) near 0, so d at eps = 0."""
    return d if epsilon == 0 else function(epsilon * d).div_(epsilon)


def scaled(x: Pair, factor: float) -> Pair:
    """factor x."""
    return Pair(factor * x.primal, factor * x.difference)


@pointwise(aten.exp, aten.expm1, backward=lambda g, x: g * x.exp().conj())
def exp(epsilon, x):
    """e^a expm1(eps d) / eps, or from e^(a + t) where eps d = 1 + t is above 1, so that nothing overflows."""
    a, d = x
    if epsilon == 0:
        return d * a.exp()
    z = epsilon * d
    if z.is_complex():
        t = (z.real - 1).clamp_(min=0)
        return torch.expm1(z.sub_(t)).sub_(torch.expm1(-t)).mul_((a + t).exp_()).div_(epsilon)
    t = (z - 1).clamp_min_(0)
    return growth(1, z.clamp_max_(1)).sub_(growth(1, -t)).mul_(t.add_(a).exp_()).div_(epsilon)


@pointwise(aten.exp2)
def exp2(epsilon, x):
    """2^x = e^(x log 2)."""
    return exp(epsilon, scaled(x, math.log(2)))


@pointwise(aten.log, backward=lambda g, x: g / x.conj())
def log(epsilon, x):
    """log1p(eps d / a) / eps; where b < a / 2, log(b / a) / eps."""
    ratio = x.difference / x.primal
    near = scaled_by(epsilon, torch.log1p, ratio)
    if epsilon == 0:
        return near
    if ratio.is_complex():
        return _complex_log(epsilon, x, near, epsilon * ratio)
    return torch.where(epsilon * ratio > -0.5, near, torch.log(x.value(epsilon) / x.primal) / epsilon)


def _complex_log(epsilon, x, near, move):
    """log(b / a) is log b - log a but for turns of 2 pi i, where b lies across the cut."""
    a, b = x.primal, x.value(epsilon)
    change = torch.where(move.abs() < 0.5, near, torch.log(b / a) / epsilon)
    turns = (b.angle() - a.angle() - epsilon * change.imag).div_(2 * math.pi).round_()
    return change + torch.complex(torch.zeros_like(turns), turns * (2 * math.pi / epsilon))


@pointwise(aten.log2)
def log2(epsilon, x):
    return log(epsilon, x) / math.log(2)


@pointwise(aten.log10)
def log10(epsilon, x):
    return log(epsilon, x) / math.log(10)


@pointwise(aten.log1p)
def log1p(epsilon, x):
    return log(epsilon, Pair(1 + x.primal, x.difference))


@pointwise(aten.reciprocal)
def reciprocal(epsilon, x):
    """-d / (a b)."""
    return -x.difference / (x.primal * x.value(epsilon))


@pointwise(aten.sqrt)
def sqrt(epsilon, x):
    """d / (sqrt(a) + sqrt(b)), which is 0 where a = b = 0."""
    root = x.difference / (x.primal.sqrt() + x.value(epsilon).sqrt())
    return torch.where(x.difference == 0, 0, root)


@pointwise(aten.rsqrt)
def rsqrt(epsilon, x):
    """-d / (sqrt(a) sqrt(b) (sqrt(a) + sqrt(b)))."""
    left, right = x.primal.sqrt(), x.value(epsilon).sqrt()
    return -x.difference / (left * right * (left + right))


@pointwise(aten.sin)
def sin(epsilon, x):
    """2 sin(h) cos(a + h) / eps, h = eps d / 2, with the cosine of the sum expanded: a + h would round."""
    a, d = x
    h = epsilon / 2 * d
    return scaled_by(epsilon / 2, torch.sin, d) * (a.cos() * h.cos() - a.sin() * h.sin())


@pointwise(aten.cos)
def cos(epsilon, x):
    """-2 sin(h) sin(a + h) / eps, h = eps d / 2."""
    a, d = x
    h = epsilon / 2 * d
    return -scaled_by(epsilon / 2, torch.sin, d) * (a.sin() * h.cos() + a.cos() * h.sin())


@pointwise(aten.tan)
def tan(epsilon, x):
    """sin(eps d) / (eps cos(a) cos(b))."""
    a, d = x
    z = epsilon * d
    return scaled_by(epsilon, torch.sin, d) / (a.cos() * (a.cos() * z.cos() - a.sin() * z.sin()))


@pointwise(aten.sinh)
def sinh(epsilon, x):
    """2 sinh(h) cosh(a + h) / eps, h = eps d / 2."""
    return scaled_by(epsilon / 2, torch.sinh, x.difference) * torch.cosh(x.value(epsilon / 2))


@pointwise(aten.cosh)
def cosh(epsilon, x):
    """2 sinh(h) sinh(a + h) / eps, h = eps d / 2."""
    return scaled_by(epsilon / 2, torch.sinh, x.difference) * torch.sinh(x.value(epsilon / 2))


@pointwise(aten.sigmoid, backward=lambda g, x: aten.sigmoid_backward(g, x.sigmoid()))
def sigmoid(epsilon, x):
    """d >= 0: -expm1(-eps d)/eps s(b) s(-a);  d < 0: expm1(eps d)/eps s(a) s(-b)."""
    return sigmoid_between(epsilon, x.primal, x.value(epsilon), x.difference)


def sigmoid_between(epsilon, a, b, d):
    """The sigmoid's difference, of a move from a to b = a + eps d."""
    if d.is_complex():
        rises = d.real >= 0
        change = scaled_by(-epsilon, torch.expm1, torch.where(rises, d, -d)) * torch.where(rises, 1, -1)
        return change * torch.sigmoid(torch.where(rises, b, a)) * torch.sigmoid(-torch.where(rises, a, b))
    change = growth(-epsilon, d.abs()).copysign_(d)
    return change.mul_(torch.sigmoid(torch.maximum(a, b))).mul_(torch.sigmoid(-torch.minimum(a, b)))


@pointwise(aten.tanh, backward=lambda g, x: aten.tanh_backward(g, x.tanh()))
def tanh(epsilon, x):
    """tanh x = 2 s(2 x) - 1."""
    return 2 * sigmoid(epsilon, scaled(x, 2))
