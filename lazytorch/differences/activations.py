"""Smooth activation functions, composed from the elementary ones. b = a + eps d throughout."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from .erfc import erfc
from .exponentials import growth, tanh_
from .function import add_product
from .pair import Pair, apply, rule
from .pointwise import pointwise, scaled, scaled_by, sigmoid_between, tanh
from .reading import within

aten = torch.ops.aten

#: Abscissae in [0, 1] of Gauss-Legendre quadrature and weights for the normal density without its factor, for float64
#: and for other types; of one point alone.
FINE, COARSE, POINT = (
    [((t + 1) / 2, w / math.sqrt(8 * math.pi)) for t, w in zip(abscissae, weights, strict=True)]
    for points in (5, 3, 1)
    for abscissae, weights in [[each.tolist() for each in np.polynomial.legendre.leggauss(points)]]
)


@pointwise(aten.erf)
def erf(epsilon, x):
    """erf(x) = 2 Phi(sqrt(2) x) - 1."""
    return 2 * normal_distribution(epsilon, scaled(x, math.sqrt(2)))


def normal_distribution(epsilon, x):
    """Of the normal distribution's Phi(x) = erfc(-x / sqrt(2)) / 2: its density's mean over [a, b], times d.

    By quadrature where |eps d| max(1, |a|) <= 2/9, so |eps d| max(1, |a + b| / 2) <= 1/4 (its error is then below
    rounding); elsewhere the plain subtraction of erfc, on a's side of 0, whose tail keeps its relative accuracy.
    """
    a, d = x

    def near():
        (start, weight), *others = POINT if epsilon == 0 else FINE if a.dtype == torch.float64 else COARSE
        zero = a.new_zeros(())

        def density(t):
            point = torch.add(a, d, alpha=epsilon * t)
            return torch.addcmul(zero, point, point, value=-0.5).exp_()

        mean = density(start).mul_(weight)
        for t, w in others:
            mean.add_(density(t), alpha=w)
        return mean.mul_(d)

    def far():
        side = torch.full_like(a, 1 / math.sqrt(2)).copysign_(a)
        return (erfc(side * a) - erfc(side * x.value(epsilon))).mul_(side).mul_(0.5**0.5 / epsilon)

    if epsilon == 0:
        return near()
    return within((a.abs().clamp_min_(1) * d).abs_(), 2 / 9 / epsilon, near, far)


@pointwise(aten.erfc)
def complementary_erf(epsilon, x):
    return -erf(epsilon, x)


@pointwise(aten.softplus, backward=lambda g, x, beta=1, threshold=20: aten.softplus_backward(g, x, beta, threshold))
def softplus(epsilon, x, beta=1, threshold=20):
    """softplus(x) = log(1 + e^(beta x)) / beta, and x where beta x is above the threshold.

    That is a jump of softplus(-x), which at the default threshold is below float32 rounding, and left out.
    """
    smooth = _softplus(epsilon, scaled(x, beta)) / beta
    if threshold >= 20:
        return smooth
    before, after = ((F.softplus(-t, beta) * (beta * t > threshold)) for t in (x.primal, x.value(epsilon)))
    if epsilon == 0:
        return torch.where(before > 0, x.difference, smooth)
    return torch.where((before > 0) & (after > 0), x.difference, smooth + (before - after) / epsilon)


def _softplus(epsilon, x):
    """With c = max(a, b), m = |eps d| and s the sigmoid: -sign(d) log1p(-s(c) (1 - e^-m)) / eps.

    Where that logarithm is large its argument, (e^-c + e^-m) / (1 + e^-c), has one that does not underflow.
    """
    size, top = x.difference.abs(), torch.maximum(x.primal, x.value(epsilon))
    slope = torch.sigmoid(top) * growth(-epsilon, size)
    result = scaled_by(-epsilon, torch.log1p, slope)
    if epsilon > 0:
        far = (F.softplus(-top) - torch.logaddexp(-top, -epsilon * size)) / epsilon
        result = torch.where(epsilon * slope < 0.5, result, far)
    return result.copysign(x.difference)


@pointwise(aten.log_sigmoid)
def log_sigmoid(epsilon, x):
    """log s(x) = -softplus(-x)."""
    return -_softplus(epsilon, scaled(x, -1))


@rule(aten.log_sigmoid_forward)
def log_sigmoid_forward(epsilon, out, x):
    return apply(log_sigmoid, F.logsigmoid, epsilon, x), None


@pointwise(aten.silu, backward=aten.silu_backward)
def silu(epsilon, x):
    """x s(x), a product, with D s = tanh(eps d / 2) (s(a) + s(b) - 2 s(a) s(b)) / eps."""
    a, d = x
    if epsilon == 0:
        return aten.silu_backward(d, a)
    start, end = torch.sigmoid(a), torch.sigmoid(x.value(epsilon))
    slope = torch.add(start, end).addcmul_(start, end, value=-2).mul_(tanh_(torch.mul(d, epsilon / 2)))
    return add_product(end.mul_(d), a, slope, value=1 / epsilon)


@pointwise(aten.mish, backward=aten.mish_backward)
def mish(epsilon, x):
    """x tanh(softplus(x)), a product."""
    inner = Pair(F.softplus(x.primal), _softplus(epsilon, x))
    return x.difference * torch.tanh(F.softplus(x.value(epsilon))) + x.primal * tanh(epsilon, inner)


@pointwise(aten.gelu, backward=aten.gelu_backward)
def gelu(epsilon, x, approximate="none"):
    """x Phi(x), a product, with the normal distribution's Phi or its approximation by a sigmoid."""
    return (_gelu_tanh if approximate == "tanh" else _gelu)(epsilon, x)


def _gelu(epsilon, x):
    end = torch.mul(x.value(epsilon), -1 / math.sqrt(2))
    normal = (torch.erfc(end) if epsilon == 0 else erfc(end)).mul_(0.5)
    return add_product(normal.mul_(x.difference), x.primal, normal_distribution(epsilon, x))


def _gelu_tanh(epsilon, x):
    """(1 + tanh(u)) / 2 = s(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    a, d = x
    b, factor = x.value(epsilon), 2 * math.sqrt(2 / math.pi)
    start, end = (factor * t * (1 + 0.044715 * t * t) for t in (a, b))
    inner = factor * d * (1 + 0.044715 * (a * a + a * b + b * b))
    return d * torch.sigmoid(end) + a * sigmoid_between(epsilon, start, end, inner)
