"""Powers x^y, where the base, the exponent or both depend on theta."""

import functools
from typing import Any

import torch

from .derivative import derivative
from .pair import Pair, apply, primal, rule, value
from .pointwise import log, pointwise, reciprocal, rsqrt, scaled_by, sqrt

aten = torch.ops.aten


@pointwise(aten.pow.Tensor_Scalar)
def power(epsilon, x, exponent):
    """Integer exponents by products, +-1/2 by roots, others by exp(exponent log x)."""
    if exponent == 0:
        return torch.zeros_like(x.difference)
    if exponent == 0.5:
        return sqrt(epsilon, x)
    if exponent == -0.5:
        return rsqrt(epsilon, x)
    if float(exponent).is_integer():
        whole = _product(epsilon, x, abs(int(exponent)))
        return whole.difference if exponent > 0 else reciprocal(epsilon, whole)
    return _by_logarithm(epsilon, x, x.primal.new_full((), exponent))


def _product(epsilon, x, n: int) -> Pair:
    """x^n by repeated squaring: x^2 is (a^2, d (a + b))."""
    if n == 1:
        return x
    half = _product(epsilon, x, n // 2)
    at_w = half.value(epsilon)
    square = Pair(half.primal**2, half.difference * (half.primal + at_w))
    if n % 2 == 0:
        return square
    return Pair(square.primal * x.primal, square.difference * x.value(epsilon) + square.primal * x.difference)


@rule(aten.pow.Tensor_Tensor)
def power_of_tensors(epsilon, out, base, exponent):
    return apply(_by_logarithm, torch.pow, epsilon, base, exponent)


@rule(aten.pow.Scalar)
def power_of_constant(epsilon, out, base, exponent):
    function = functools.partial(torch.pow, base)
    return apply(lambda epsilon, y: _by_logarithm(epsilon, y.primal.new_full((), base), y), function, epsilon, exponent)


def _by_logarithm(epsilon, base, exponent):
    """a^y expm1(eps L) / eps, where L is the divided difference of y log|x|, if |eps L| <= 1 and no sign changes.

    Elsewhere the plain subtraction, as nothing cancels. At eps = 0 the derivative, by torch's convention at base 0.
    """
    if epsilon == 0:
        return derivative(torch.pow, base, exponent)
    a, y = primal(base), primal(exponent)
    a_w, y_w = value(base, epsilon), value(exponent, epsilon)
    growth: Any = 0
    if isinstance(base, Pair):
        growth = y * log(epsilon, base)
    if isinstance(exponent, Pair):
        growth = growth + exponent.difference * a_w.abs().log()
    start = torch.pow(a, y)
    near = ((epsilon * growth).abs() <= 1) & (a * a_w > 0)
    return torch.where(near, start * scaled_by(epsilon, torch.expm1, growth), (torch.pow(a_w, y_w) - start) / epsilon)
