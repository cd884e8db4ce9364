"""Special functions without an addition theorem, by the mean of their derivative from a to b = a + eps d."""

import functools
import math

import numpy as np
import torch
from torch import Tensor

from .pair import RULES, Pair, apply, difference, primal, rule, value
from .pointwise import pointwise

aten = torch.ops.aten

#: Abscissae and weights of Gauss-Legendre quadrature on [0, 1].
NODES = [((1 + t) / 2, w / 2) for t, w in np.stack(np.polynomial.legendre.leggauss(6)).T.tolist()]


def _mean_slope(epsilon, x, function, slope, singular: Tensor):
    """d times the mean of ``slope``, where |eps d| is at most an eighth of the distance ``singular`` to a singularity.

    Its error is below rounding there (30^-12); elsewhere the plain subtraction, as little cancels. In float32 at least.
    """
    dtype = torch.promote_types(x.primal.dtype, torch.float32)
    a, d = x.primal.to(dtype), x.difference.to(dtype)
    if epsilon == 0:
        return (d * slope(a)).to(x.primal.dtype)
    near = d * sum(w * slope(Pair(a, d).value(s * epsilon)) for s, w in NODES)
    far = (function(Pair(a, d).value(epsilon)) - function(a)) / epsilon
    return torch.where((epsilon * d).abs() <= singular / 8, near, far).to(x.primal.dtype)


def _to_a_pole(a: Tensor) -> Tensor:
    """The distance to the next of 0, -1, -2, ..."""
    return torch.where(a > 0, a, (a - a.round()).abs())


@pointwise(aten.lgamma)
def lgamma(epsilon, x):
    return _mean_slope(epsilon, x, torch.lgamma, torch.digamma, _to_a_pole(x.primal))


@pointwise(aten.digamma)
def digamma(epsilon, x):
    return _polygamma(0, epsilon, x)


@rule(aten.polygamma)
def polygamma(epsilon, out, n, x):
    return apply(functools.partial(_polygamma, n), functools.partial(torch.polygamma, n), epsilon, x)


def _polygamma(n: int, epsilon, x):
    function, slope = (functools.partial(_of_order, order) for order in (n, n + 1))
    return _mean_slope(epsilon, x, function, slope, _to_a_pole(x.primal))


def _of_order(n: int, t: Tensor) -> Tensor:
    """By Hurwitz's zeta function, as torch's own trigamma has an error of 1e-9."""
    return (-1) ** (n + 1) * math.factorial(n) * torch.special.zeta(n + 1, t) if n else torch.digamma(t)


@pointwise(aten.i0)
def bessel0(epsilon, x):
    return _mean_slope(epsilon, x, torch.special.i0, torch.special.i1, _far(x))


@pointwise(aten.special_i1)
def bessel1(epsilon, x):
    return _mean_slope(epsilon, x, torch.special.i1, _slope_of_bessel1, _far(x))


@pointwise(aten.special_i0e)
def scaled_bessel0(epsilon, x):
    """Of |x|, as it has a kink at 0."""
    x = Pair(x.primal.abs(), RULES[aten.abs](epsilon, x.primal.abs(), x))
    return _mean_slope(epsilon, x, torch.special.i0e, lambda t: torch.special.i1e(t) - torch.special.i0e(t), _far(x))


def _slope_of_bessel1(t: Tensor) -> Tensor:
    return torch.special.i0(t) - torch.where(t == 0, 0.5, torch.special.i1(t) / t)


def _far(x: Pair) -> Tensor:
    """Of functions without a singularity that change by a factor e over a distance of 1."""
    return torch.full_like(x.primal, 8)


@pointwise(aten.special_ndtri)
def quantile(epsilon, x):
    """Of the normal distribution."""
    return _mean_slope(epsilon, x, torch.special.ndtri, _slope_of_quantile, torch.minimum(x.primal, 1 - x.primal))


@pointwise(aten.erfinv)
def erfinv(epsilon, x):
    """erfinv x = -sign(x) q((1 - |x|) / 2) / sqrt(2), q the quantile of the normal distribution.

    So the distance of x from 1 does not round.
    """
    side = torch.ones_like(x.primal).copysign(x.primal)
    tail = Pair((1 - x.primal.abs()) / 2, -side * x.difference / 2)
    return -side / 2**0.5 * _mean_slope(epsilon, tail, torch.special.ndtri, _slope_of_quantile, tail.primal)


def _slope_of_quantile(t: Tensor) -> Tensor:
    return (2 * torch.pi) ** 0.5 * torch.special.ndtri(t).square().div(2).exp()


@rule(aten.hypot)
def hypot(epsilon, out, x, y):
    """sum d (a + b) / (|a| + |b|) over both arguments, 0 where both vanish."""
    return apply(_hypot, torch.hypot, epsilon, x, y)


def _hypot(epsilon, *arguments):
    size = torch.hypot(*map(primal, arguments)) + torch.hypot(*(value(t, epsilon) for t in arguments))
    moving = [t for t in arguments if difference(t) is not None]
    terms = (d * (torch.add(2 * a, d, alpha=epsilon) / size) for a, d in moving)
    return torch.where(size == 0, 0, sum(terms))
