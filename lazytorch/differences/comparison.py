"""Conditions: comparisons, and tests of values. Their rules return the condition at w."""

import functools

import torch

from .pair import ROUNDINGS, Pair, difference, rule, value

aten = torch.ops.aten


def _compare(operator, epsilon, out, left, right):
    """Compare (a - c) + eps (d - d_c) with 0, so that where a and c nearly agree the differences decide.

    Where they do not and the sum is 0 to rounding, it is 0: so integers that have moved onto one another are equal.
    """
    a, c = _start(epsilon, left), _start(epsilon, right)
    gap = torch.where(a == c, 0, a - c)  # of equal infinities too
    at_w = torch.add(gap, _minus(difference(left), difference(right)), alpha=epsilon)
    met = (gap != 0) & gap.isfinite() & (at_w.abs() <= ROUNDINGS * torch.finfo(at_w.dtype).eps * gap.abs())
    return operator(at_w.masked_fill(met, 0), 0)


def _minus(d, d_c):
    if d_c is None:
        return d
    return -d_c if d is None else d - d_c


def _start(epsilon, argument):
    """The value at w_0, and at w of what has no difference (an index)."""
    return argument.primal if isinstance(argument, Pair) else value(argument, epsilon)


for _operator in (aten.eq, aten.ne, aten.lt, aten.le, aten.gt, aten.ge):
    rule(_operator)(functools.partial(_compare, _operator))


def _test(operator, epsilon, out, *arguments):
    return operator(*(value(argument, epsilon) for argument in arguments))


#: Of the values at w, whose sign and finiteness rounding does not change.
TESTS = (
    aten.isfinite,
    aten.isinf,
    aten.isnan,
    aten.logical_and,
    aten.logical_not,
    aten.logical_or,
    aten.logical_xor,
    aten.signbit,
)

for _operator in TESTS:
    rule(_operator)(functools.partial(_test, _operator))
