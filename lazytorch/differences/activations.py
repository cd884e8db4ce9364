"""Smooth activation functions, composed from the elementary ones. b = a + eps d throughout."""

import math

import torch
import torch.nn.functional as F

from .pair import Pair, apply, rule
from .pointwise import exprel, log1prel, pointwise, scaled, sigmoid, sigmoid_between, tanh

aten = torch.ops.aten

# Abscissae and weights of 5-point Gauss-Legendre quadrature on [0, 1].
NODES = (0.04691007703066800, 0.23076534494715845, 0.5, 0.76923465505284155, 0.95308992296933200)
WEIGHTS = (0.11846344252809454, 0.23931433524968323, 0.28444444444444444, 0.23931433524968323, 0.11846344252809454)


@pointwise(aten.erf)
def erf(epsilon, x):
    """d (2 / sqrt(pi)) e^(-a^2) times the mean of e^(a^2 - t^2) over [a, b], by quadrature where it varies little.

    That is where |eps d| max(1, |a|, |b|) <= 1/4 (its error is then below float64 rounding); elsewhere the plain
    subtraction, of erfc on a's side of 0, whose tail keeps its relative accuracy.
    """
    a, d = x
    b, z = x.value(epsilon), epsilon * d
    mean = sum(w * torch.exp(-s * z * (2 * a + s * z)) for s, w in zip(NODES, WEIGHTS, strict=True))
    near = d * (2 / math.sqrt(math.pi)) * torch.exp(-a * a) * mean
    side = torch.where(a < 0, -1, 1)
    far = side * (torch.erfc(side * a) - torch.erfc(side * b)) / epsilon
    return torch.where(z.abs() * torch.maximum(a.abs(), b.abs()).clamp_min(1) <= 0.25, near, far)


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
    d, top, move = x.difference, torch.maximum(x.primal, x.value(epsilon)), (epsilon * x.difference).abs()
    slope = torch.sigmoid(top) * exprel(-move)
    near = d * slope * log1prel(-slope * move)
    far = d.sign() * (F.softplus(-top) - torch.logaddexp(-top, -move)) / epsilon
    return torch.where(slope * move < 0.5, near, far)


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
