"""Smooth activation functions, composed from the elementary ones. b = a + eps d throughout."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from .pair import Pair, apply, rule
from .pointwise import pointwise, scaled, scaled_by, sigmoid, sigmoid_between, tanh

aten = torch.ops.aten

#: Abscissae and weights of Gauss-Legendre quadrature on [0, 1] that float64 needs, and other types.
FINE, COARSE = (
    [((1 + t) / 2, w / 2) for t, w in np.stack(np.polynomial.legendre.leggauss(points)).T.tolist()] for points in (5, 3)
)


@pointwise(aten.erf)
def erf(epsilon, x):
    """d (2 / sqrt(pi)) e^(-a^2) times the mean of e^(a^2 - t^2) over [a, b], by quadrature where it varies little.

    That is where |eps d| max(1, |a|, |b|) <= 1/4 (its error is then below rounding); elsewhere the plain subtraction
    of erfc, on a's side of 0, whose tail keeps its relative accuracy.
    """
    a, d = x
    b, z = x.value(epsilon), epsilon * d
    mean, twice = torch.zeros_like(a), 2 * a
    for s, w in FINE if a.dtype == torch.float64 else COARSE:
        mean.add_(torch.add(twice, z, alpha=s).mul_(z).mul_(-s).exp_(), alpha=w)
    near = torch.exp(-a * a).mul_(2 / math.sqrt(math.pi)).mul_(mean).mul_(d)
    side = torch.ones_like(a).copysign_(a)
    far = torch.erfc(side * a).sub_(torch.erfc(side * b)).mul_(side) / epsilon
    return torch.where(z.abs_().mul_(torch.maximum(a.abs(), b.abs()).clamp_min_(1)) <= 0.25, near, far)


@pointwise(aten.erfc)
def erfc(epsilon, x):
    return -erf(epsilon, x)


@pointwise(aten.softplus)
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
    slope = torch.sigmoid(top) * scaled_by(-epsilon, torch.expm1, size)
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


@pointwise(aten.silu)
def silu(epsilon, x):
    """x s(x), a product."""
    return x.difference * torch.sigmoid(x.value(epsilon)) + x.primal * sigmoid(epsilon, x)


@pointwise(aten.mish)
def mish(epsilon, x):
    """x tanh(softplus(x)), a product."""
    inner = Pair(F.softplus(x.primal), _softplus(epsilon, x))
    return x.difference * torch.tanh(F.softplus(x.value(epsilon))) + x.primal * tanh(epsilon, inner)


@pointwise(aten.gelu)
def gelu(epsilon, x, approximate="none"):
    """x Phi(x), a product, with the normal distribution's Phi or its approximation by a sigmoid."""
    return (_gelu_tanh if approximate == "tanh" else _gelu)(epsilon, x)


def _gelu(epsilon, x):
    """Phi(x) = erfc(-x / sqrt(2)) / 2."""
    normal = torch.erfc(-x.value(epsilon) / math.sqrt(2)) / 2
    return x.difference * normal + x.primal * erf(epsilon, scaled(x, 1 / math.sqrt(2))) / 2


def _gelu_tanh(epsilon, x):
    """(1 + tanh(u)) / 2 = s(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    a, d = x
    b, factor = x.value(epsilon), 2 * math.sqrt(2 / math.pi)
    start, end = (factor * t * (1 + 0.044715 * t * t) for t in (a, b))
    inner = factor * d * (1 + 0.044715 * (a * a + a * b + b * b))
    return d * torch.sigmoid(end) + a * sigmoid_between(epsilon, start, end, inner)
