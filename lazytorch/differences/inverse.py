"""Inverse circular and hyperbolic functions, by their addition theorems. b = a + eps d throughout."""

import torch

from .pair import Pair, apply, difference, primal, rule, value
from .pointwise import log, pointwise

aten = torch.ops.aten


def _angle(epsilon, sine, cosine):
    """The angle of the vector (cosine, eps sine), over eps."""
    return sine / cosine if epsilon == 0 else torch.atan2(epsilon * sine, cosine) / epsilon


def _unless_across(function, epsilon, x, near):
    """The plain subtraction where a and b lie on both sides of the function's zero, as nothing cancels there."""
    a, b = x.primal, x.value(epsilon)
    return torch.where(a * b < 0, (function(b) - function(a)) / epsilon, near)


@pointwise(aten.atan)
def atan(epsilon, x):
    """The angle between (1, a) and (1, b): its tangent is eps d / (1 + a b)."""
    near = _angle(epsilon, x.difference, 1 + x.primal * x.value(epsilon))
    return _unless_across(torch.atan, epsilon, x, near)


@pointwise(aten.asin)
def asin(epsilon, x):
    """The angle between (u, a) and (v, b), u = sqrt(1 - a^2), v = sqrt(1 - b^2): its sine is b u - a v."""
    a, d = x
    b, z = x.value(epsilon), epsilon * d
    u, v = torch.sqrt((1 - a) * (1 + a)), torch.sqrt((1 - a - z) * (1 + a + z))
    near = _angle(epsilon, d * (u + a * (a + b) / (u + v)), u * v + a * b)
    return _unless_across(torch.asin, epsilon, x, near)


@pointwise(aten.acos)
def acos(epsilon, x):
    """acos x = pi / 2 - asin x."""
    return -asin(epsilon, x)


@rule(aten.atan2)
def atan2(epsilon, out, y, x):
    """The angle between the vectors at w_0 and at w, and a full turn where w is across the negative half-axis."""
    return apply(_atan2, torch.atan2, epsilon, y, x)


def _atan2(epsilon, y, x):
    (a, c), (b, e) = (primal(y), primal(x)), (value(y, epsilon), value(x, epsilon))
    cross = sum(part for part in (_times(c, difference(y)), _times(-a, difference(x))) if part is not None)
    angle = _angle(epsilon, cross, c * e + a * b)
    if epsilon == 0:
        return cross / (c * c + a * a)
    turns = torch.round((torch.atan2(b, e) - torch.atan2(a, c) - epsilon * angle) / (2 * torch.pi))
    return angle + turns * (2 * torch.pi / epsilon)


def _times(factor, d):
    return None if d is None else factor * d


def _logarithm(epsilon, x, u, v):
    """Of log(x + u(x)), where u^2 = x^2 + constant and u, v are its values at w_0 and w; for x > 0."""
    a, d = x
    return log(epsilon, Pair(a + u, d * (1 + (a + x.value(epsilon)) / (u + v))))


@pointwise(aten.asinh)
def asinh(epsilon, x):
    """asinh x = log(x + sqrt(x^2 + 1)), which is odd: of |a| and |b|."""
    one, side = torch.ones_like(x.primal), torch.where(x.primal + x.value(epsilon) < 0, -1, 1)
    u, v = torch.hypot(one, x.primal), torch.hypot(one, x.value(epsilon))
    near = side * _logarithm(epsilon, Pair(side * x.primal, side * x.difference), u, v)
    return _unless_across(torch.asinh, epsilon, x, near)


@pointwise(aten.acosh)
def acosh(epsilon, x):
    """acosh x = log(x + sqrt(x^2 - 1))."""
    above, b = Pair(x.primal - 1, x.difference), x.value(epsilon)
    return _logarithm(epsilon, x, torch.sqrt(above.primal * (x.primal + 1)), torch.sqrt(above.value(epsilon) * (b + 1)))


@pointwise(aten.atanh)
def atanh(epsilon, x):
    """atanh x = (log(1 + x) - log(1 - x)) / 2, whose parts move in opposite directions."""
    a, d = x
    return (log(epsilon, Pair(1 + a, d)) - log(epsilon, Pair(1 - a, -d))) / 2
