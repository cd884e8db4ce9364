"""Conditions at w, decided by the differences where values at w round to a tie."""

import itertools
import operator as python

import mpmath
import pytest
import torch

from lazytorch.differences.operators import on_pairs
from lazytorch.differences.pair import Discrete, Pair

aten = torch.ops.aten
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def _at_w(epsilon, a, d):
    """a + eps d without rounding."""
    return [mpmath.mpf(x) + mpmath.mpf(epsilon) * y for x, y in zip(a.tolist(), d.tolist(), strict=True)]


@pytest.mark.parametrize("dtype", (torch.float64, torch.float32), ids=str)
@pytest.mark.parametrize("epsilon", (1.0, 2.0**-10, 2.0**-40))
@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name, epsilon, dtype):
    """With a Pair, a constant and a number, on either side of ties at w_0 and at w."""
    packet, exact = getattr(aten, name), getattr(python, name)
    a, c, d, e = torch.tensor([*itertools.product((-1.0, 0.0, 2.0), repeat=4)], dtype=dtype).T
    e = torch.where(a == c, e, 0.7 * e / epsilon)
    number = torch.full_like(a, 2.0)
    for operator, right, start, move in (
        (packet.Tensor, Pair(c, e), c, e),
        (packet.Tensor, c, c, 0 * e),
        (packet.Scalar, 2.0, number, 0 * e),
    ):
        out = packet.Tensor(a, start)
        result = on_pairs(operator, epsilon, out, (Pair(a, d), right), {})
        expected = [exact(x, y) for x, y in zip(_at_w(epsilon, a, d), _at_w(epsilon, start, move), strict=True)]
        assert result.final.tolist() == expected
        torch.testing.assert_close(result.primal, out)


@pytest.mark.parametrize("name", COMPARISONS)
def test_infinities_and_nan_compare_as_they_do(name):
    operator = getattr(aten, name).Tensor
    values = torch.tensor([-torch.inf, 1.0, torch.inf, torch.nan])
    a, c = (t.flatten() for t in torch.meshgrid(values, values, indexing="ij"))
    result = on_pairs(operator, 1e-7, operator(a, c), (Pair(a, torch.zeros_like(a)), c), {})
    assert result.final.tolist() == operator(a, c).tolist()


def test_at_infinite_alpha_a_condition_is_the_one_at_w_0():
    a = torch.tensor([-1.0, 0.0, 1.0])
    out = aten.gt.Scalar(a, 0)
    assert on_pairs(aten.gt.Scalar, 0.0, out, (Pair(a, torch.ones(3)), 0), {}) is out


@pytest.mark.parametrize("name", ("isnan", "isinf", "isfinite", "logical_not", "signbit"))
def test_tests_of_values(name):
    operator = getattr(aten, name).default
    a = torch.tensor([1.0, 1.0, torch.inf, torch.nan, -1.0])
    d = torch.tensor([-1.0, -3.0, 1.0, 1.0, torch.inf])
    result = on_pairs(operator, 1.0, operator(a), (Pair(a, d),), {})
    assert result.final.tolist() == operator(a + d).tolist()


@pytest.mark.parametrize("epsilon", (1.0, 1e-7))
def test_a_condition_that_changes_enters_arithmetic_as_a_jump(epsilon):
    """x (x > 0), as in a ReLU written by hand, and sums with a condition."""
    a, d = torch.tensor([1.0, -1.0, 3.0, -2.0]), torch.tensor([-2.0, 3.0, 1.0, 1.0]) / epsilon
    x, condition = Pair(a, d), Discrete(a > 0, a + epsilon * d > 0)
    for operator in (aten.mul.Tensor, aten.add.Tensor):
        result = on_pairs(operator, epsilon, operator(a, a > 0), (x, condition), {}).difference
        expected = (operator(a + epsilon * d, condition.final) - operator(a, condition.primal)) / epsilon
        torch.testing.assert_close(result, expected)
