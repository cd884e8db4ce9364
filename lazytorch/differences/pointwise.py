"""Pointwise functions. Formulas follow Kahan & Fateman, "Symbolic Computation of Divided Differences" (1999)."""

import functools

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .pair import Pair, apply, rule

aten = torch.ops.aten

# Abscissae and weights of 5-point Gauss-Legendre quadrature on [0, 1].
NODES = (0.04691007703066800, 0.23076534494715845, 0.5, 0.76923465505284155, 0.95308992296933200)
WEIGHTS = (0.11846344252809454, 0.23931433524968323, 0.28444444444444444, 0.23931433524968323, 0.11846344252809454)
QUADRATURE_REACH = 0.25  # the rule's error, about 4e-13 |eps d|^10 phi^(11), is then below float64 rounding


class _ReLU(torch.autograd.Function):
    """max(d - max(c, 0), min(c, 0)) with c = -a / eps; the unit is active where the first is larger.

    At eps = 0, d where a > 0. ``out`` is relu(a), so that min(c, 0) = -out / eps.
    """

    @staticmethod
    def forward(ctx, epsilon, a, out, d):
        if epsilon == 0:
            gate = a > 0
            result = d * gate
        else:
            result = a.clamp(max=0).mul_(1 / epsilon).add_(d)
            off = out * (-1 / epsilon)
            gate = result > off
            result = torch.maximum(result, off, out=off)
        ctx.save_for_backward(gate)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (gate,) = ctx.saved_tensors
        return None, None, None, gradient * gate


@rule(aten.relu)
def relu(epsilon, out, x):
    return _ReLU.apply(epsilon, x.primal, out, x.difference)


def exprel(z: Tensor) -> Tensor:
    """(e^z - 1) / z, which is 1 at z = 0."""
    return torch.where(z == 0, 1, torch.expm1(z) / z)


def _near_or_far(near, function):
    """``near(epsilon, a, d)`` where |eps d| <= 1, the plain subtraction where it is larger and nothing cancels."""

    def formula(epsilon, x):
        a, d = x
        if epsilon == 0:
            return near(epsilon, a, d)
        z = epsilon * d
        far = (function(a + z) - function(a)) / epsilon
        return torch.where(z.abs() <= 1, near(epsilon, a, d.clamp(-1 / epsilon, 1 / epsilon)), far)

    return formula


def exp_near(epsilon, a, d):
    """e^a expm1(eps d) / eps."""
    return torch.exp(a) * d * exprel(epsilon * d)


def log1prel(z: Tensor) -> Tensor:
    """log(1 + z) / z, which is 1 at z = 0."""
    return torch.where(z == 0, 1, torch.log1p(z) / z)


def log_difference(epsilon, x):
    """log1p(eps d / a) / eps."""
    ratio = x.difference / x.primal
    return ratio * log1prel(epsilon * ratio)


def sigmoid_difference(epsilon, x):
    """d >= 0: -expm1(-eps d)/eps s(a + eps d) s(-a);  d < 0: expm1(eps d)/eps s(a) s(-a - eps d)."""
    a, d = x
    z = epsilon * d
    low, high = torch.where(d >= 0, a, a + z), torch.where(d >= 0, a + z, a)
    return d * exprel(-z.abs()) * torch.sigmoid(high) * torch.sigmoid(-low)


def tanh_difference(epsilon, x):
    """tanh x = 2 s(2 x) - 1."""
    return 2 * sigmoid_difference(epsilon, Pair(2 * x.primal, 2 * x.difference))


def softplus_near(epsilon, a, d):
    """log1p(s(a) expm1(eps d)) / eps."""
    slope = torch.sigmoid(a) * d * exprel(epsilon * d)
    return slope * log1prel(epsilon * slope)


def reciprocal_difference(epsilon, x):
    """-d / (a b), b = a + eps d."""
    return -x.difference / (x.primal * x.value(epsilon))


def sqrt_difference(epsilon, x):
    """d / (sqrt(a) + sqrt(b)), b = a + eps d."""
    return x.difference / (x.primal.sqrt() + x.value(epsilon).sqrt())


def rsqrt_difference(epsilon, x):
    """-d / (sqrt(a) sqrt(b) (sqrt(a) + sqrt(b))), b = a + eps d."""
    left, right = x.primal.sqrt(), x.value(epsilon).sqrt()
    return -x.difference / (left * right * (left + right))


#: Functions of one tensor with a formula of their own.
FORMULAS = {
    aten.exp: _near_or_far(exp_near, torch.exp),
    aten.log: log_difference,
    aten.reciprocal: reciprocal_difference,
    aten.rsqrt: rsqrt_difference,
    aten.sigmoid: sigmoid_difference,
    aten.sqrt: sqrt_difference,
    aten.tanh: tanh_difference,
}


def _with_formula(operator, formula):
    def pointwise(epsilon, out, x):
        return apply(formula, operator, epsilon, x)

    return pointwise


for _operator, _formula in FORMULAS.items():
    rule(_operator)(_with_formula(_operator, _formula))


@rule(aten.softplus)
def softplus(epsilon, out, x, beta=1, threshold=20):
    """softplus(x) = log(1 + e^(beta x)) / beta; torch returns x itself above the threshold, to rounding the same."""
    function = functools.partial(torch.nn.functional.softplus, beta=beta, threshold=threshold)

    def near(epsilon, a, d):
        return softplus_near(epsilon, beta * a, beta * d) / beta

    return apply(_near_or_far(near, function), function, epsilon, x)


def _derivative(function, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(function(x).sum(), x)[0]


def _quadrature(function):
    """d times the mean of phi' over [a, a + eps d] where |eps d| is small, the plain subtraction elsewhere."""

    def formula(epsilon, x):
        a, d = x
        if epsilon == 0:
            return d * _derivative(function, a)
        z = epsilon * d
        mean = sum(w * _derivative(function, a + s * z) for s, w in zip(NODES, WEIGHTS, strict=True))
        return torch.where(z.abs() <= QUADRATURE_REACH, d * mean, (function(a + z) - function(a)) / epsilon)

    return formula


#: Smooth functions of one tensor (further arguments are constants) that need no formula of their own.
SMOOTH = (aten.cos, aten.erf, aten.gelu, aten.mish, aten.silu, aten.sin)


def _smooth(operator):
    def pointwise(epsilon, out, x, *args, **kwargs):
        function = functools.partial(_call, operator, args, kwargs)
        return apply(_quadrature(function), function, epsilon, x)

    return pointwise


def _call(operator, args, kwargs, x):
    return operator(x, *args, **kwargs)


for _operator in SMOOTH:
    rule(_operator)(_smooth(_operator))
