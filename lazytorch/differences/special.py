"""Special functions without an addition theorem, by the mean of their derivative from a to b = a + eps d."""

import numpy as np
import torch
from torch import Tensor

from .pair import Pair, apply, difference, primal, rule, value
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
    return _mean_slope(epsilon, x, torch.digamma, _trigamma, _to_a_pole(x.primal))


def _trigamma(t: Tensor) -> Tensor:
    """By Hurwitz's zeta function and reflection, as torch's own has an error of 1e-9."""
    of_positive = torch.special.zeta(2, torch.where(t > 0, t, 1 - t))
    return torch.where(t > 0, of_positive, (torch.pi / torch.sin(torch.pi * t)).square() - of_positive)


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
