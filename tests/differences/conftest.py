"""Grids of which the default run takes a part, and the reference of pointwise rules: 200-digit arithmetic."""

import itertools

import mpmath
import pytest
import torch

DIGITS = 200


def pytest_configure(config):
    config.addinivalue_line("markers", "in_turn(*names): cases take the values of these parameters in turn")


# A test marked in_turn is a grid of cases by the named parameters. In the default run every case meets every regime of
# epsilon (1, 0.5, small and 0) once, and the cases take the combinations of named values in the regime by turns; all
# other combinations are slow.
def pytest_itemcollected(item):
    mark = item.get_closest_marker("in_turn")
    if mark and not _has_its_turn(item, mark.args):
        item.add_marker(pytest.mark.slow)


def _has_its_turn(item, names):
    grid = {parametrize.args[0]: list(parametrize.args[1]) for parametrize in item.iter_markers("parametrize")}

    def own(some):
        return tuple(item.callspec.params[name] for name in some)

    others = [name for name in grid if name not in names]
    case = list(itertools.product(*(grid[name] for name in others))).index(own(others))
    regimes = {}
    for values in itertools.product(*(grid[name] for name in names)):
        epsilon = dict(zip(names, values, strict=True)).get("epsilon")
        regimes.setdefault(epsilon if epsilon in (0, 0.5, 1) else "small", []).append(values)
    return any(own(names) == turns[(case + i) % len(turns)] for i, turns in enumerate(regimes.values()))


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
