"""The reference that pointwise rules are held against: divided differences in 200-digit arithmetic."""

import mpmath
import pytest
import torch

DIGITS = 200


@pytest.fixture
def assert_accurate():
    return _assert_accurate


def _assert_accurate(result, function, epsilon, *pairs, roundings=128):
    """``result`` is [function(a + eps d) - function(a)] / eps, its limit at eps = 0, up to so many roundings.

    They are relative to the exact result and to what a relative change of d changes it by, as eps d is rounded too.
    What lies outside the range of the type is left out.
    """
    info = torch.finfo(result.dtype)
    columns = [t.tolist() for pair in pairs for t in pair]
    compared = 0
    with mpmath.workdps(DIGITS):
        for got, *row in zip(result.tolist(), *columns, strict=True):
            exact, sensitivity, largest = _exactly(function, epsilon, row[::2], row[1::2])
            if largest > info.max / 4 or abs(exact) > info.max / 4:
                continue
            floor = 1000 * info.tiny * max([1 / epsilon if epsilon else 1, *map(abs, row[1::2])])
            allowed = roundings * info.eps * (abs(exact) + sensitivity) + floor
            assert abs(got - exact) <= allowed, f"{got} for {mpmath.nstr(exact, 17)} at (a, d, ...) = {row}"
            compared += 1
    assert compared > len(result) // 4


def _exactly(function, epsilon, a, d):
    """The divided difference, its relative sensitivity to d, and the largest value that the function takes."""
    a, d = ([mpmath.mpf(x) for x in values] for values in (a, d))
    step, change = mpmath.mpf(epsilon) or mpmath.mpf(10) ** -50, mpmath.mpf(10) ** -25
    start, end, beyond = (
        function(*(x + step * y * factor for x, y in zip(a, d, strict=True))) for factor in (0, 1, 1 + change)
    )
    return (end - start) / step, abs(beyond - end) / change / step, max(abs(start), abs(end))
