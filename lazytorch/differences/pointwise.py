"""Elementary functions of one tensor: exponentials, logarithms, powers of one half, circular and hyperbolic functions.

Each is an identity that subtracts nothing, after Kahan & Fateman, "Symbolic Computation of Divided Differences" (1999).
Throughout, b = a + eps d is the value at w, and the difference is (phi(b) - phi(a)) / eps.
"""

import functools
import math

import torch
from torch import Tensor

from .pair import Pair, apply, rule

aten = torch.ops.aten


def pointwise(*operators):
    """Register ``formula(epsilon, x, *args, **kwargs)`` for functions of one Pair and further constants.

    The gradient is the operator's own at w (see :func:`apply`), so formulas run without graph and may branch.
    """

    def register(formula):
        for operator in operators:
            rule(operator)(functools.partial(_pointwise, operator, formula))
        return formula

    return register


def _pointwise(operator, formula, epsilon, out, x, *args, **kwargs):
    return apply(
        lambda epsilon, x: formula(epsilon, x, *args, **kwargs), lambda x: operator(x, *args, **kwargs), epsilon, x
    )


def per_unit(function, z: Tensor) -> Tensor:
    """function(z) / z of a function that is z near 0, so 1 at z = 0."""
    return torch.where(z == 0, 1, function(z) / z)


exprel = functools.partial(per_unit, torch.expm1)
log1prel = functools.partial(per_unit, torch.log1p)
sinc = functools.partial(per_unit, torch.sin)
sinhc = functools.partial(per_unit, torch.sinh)


def scaled(x: Pair, factor: float) -> Pair:
    """factor x."""
    return Pair(factor * x.primal, factor * x.difference)


@pointwise(aten.exp, aten.expm1)
def exp(epsilon, x):
    """e^a expm1(eps d) / eps; where eps d > 1, so as not to overflow, -e^b expm1(-eps d) / eps."""
    a, d = x
    z = epsilon * d
    growth = d * exprel(torch.where(z > 1, -z, z))
    return growth * torch.exp(torch.where(z > 1, x.value(epsilon), a))


@pointwise(aten.exp2)
def exp2(epsilon, x):
    """2^x = e^(x log 2)."""
    return exp(epsilon, scaled(x, math.log(2)))


@pointwise(aten.log)
def log(epsilon, x):
    """log1p(eps d / a) / eps; where b < a / 2, log(b / a) / eps."""
    a, d = x
    ratio = d / a
    z = epsilon * ratio
    return torch.where(z > -0.5, ratio * log1prel(z), torch.log(x.value(epsilon) / a) / epsilon)


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
    """d sinc(h) cos(a + h), h = eps d / 2, with the cosine of the sum expanded: a + h would round."""
    a, d = x
    h = epsilon * d / 2
    return d * sinc(h) * (a.cos() * h.cos() - a.sin() * h.sin())


@pointwise(aten.cos)
def cos(epsilon, x):
    """-d sinc(h) sin(a + h), h = eps d / 2."""
    a, d = x
    h = epsilon * d / 2
    return -d * sinc(h) * (a.sin() * h.cos() + a.cos() * h.sin())


@pointwise(aten.tan)
def tan(epsilon, x):
    """d sinc(eps d) / (cos(a) cos(b))."""
    a, d = x
    z = epsilon * d
    return d * sinc(z) / (a.cos() * (a.cos() * z.cos() - a.sin() * z.sin()))


@pointwise(aten.sinh)
def sinh(epsilon, x):
    """d sinhc(h) cosh(a + h), h = eps d / 2."""
    h = epsilon * x.difference / 2
    return x.difference * sinhc(h) * torch.cosh(x.primal + h)


@pointwise(aten.cosh)
def cosh(epsilon, x):
    """d sinhc(h) sinh(a + h), h = eps d / 2."""
    h = epsilon * x.difference / 2
    return x.difference * sinhc(h) * torch.sinh(x.primal + h)


@pointwise(aten.sigmoid)
def sigmoid(epsilon, x):
    """d >= 0: -expm1(-eps d)/eps s(b) s(-a);  d < 0: expm1(eps d)/eps s(a) s(-b)."""
    return sigmoid_between(epsilon, x.primal, x.value(epsilon), x.difference)


def sigmoid_between(epsilon, a, b, d):
    """The sigmoid's difference, of a move from a to b = a + eps d."""
    growth = d * exprel(-(epsilon * d).abs())
    return growth * torch.sigmoid(torch.maximum(a, b)) * torch.sigmoid(-torch.minimum(a, b))


@pointwise(aten.tanh)
def tanh(epsilon, x):
    """tanh x = 2 s(2 x) - 1."""
    return 2 * sigmoid(epsilon, scaled(x, 2))
