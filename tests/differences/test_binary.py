"""Functions of two tensors, of which the first, the second or both depend on theta, against 200-digit arithmetic."""

import mpmath
import pytest
import torch

from lazytorch.differences.operators import on_pairs
from lazytorch.differences.pair import Pair

aten = torch.ops.aten
EPSILONS = (1.0, 1e-2, 1e-4, 1e-7, 1e-12, 0.0)


#: name -> (operator, the function, whether the first argument is positive)
FUNCTIONS = {
    "mul": (aten.mul.Tensor, lambda x, y: x * y, False),
    "div": (aten.div.Tensor, lambda x, y: x / y, False),
    "pow": (aten.pow.Tensor_Tensor, lambda x, y: x**y, True),
    "atan2": (aten.atan2.default, lambda x, y: mpmath.atan2(x, y), False),
    "hypot": (aten.hypot.default, mpmath.hypot, False),
    "maximum": (aten.maximum.default, max, False),
    "minimum": (aten.minimum.default, min, False),
    "fmax": (aten.fmax.default, max, False),
    "fmin": (aten.fmin.default, min, False),
}
VARYING = {"both": (True, True), "first": (True, False), "second": (False, True)}


def points(name, epsilon, varying, dtype=torch.float64, count=150):
    """Two pairs (a, d) for each argument; those that do not vary have d = 0. Moves from 1e-9 to 30, of either sign."""
    generator = torch.Generator().manual_seed(0)

    def uniform(low, high):
        return torch.empty(count, dtype=torch.float64).uniform_(low, high, generator=generator)

    pairs = []
    for positive, varies in zip((FUNCTIONS[name][2], False), varying, strict=True):
        a = (10 ** uniform(-2, 1.5)) * uniform(-1, 1).sign()
        moves = 10 ** uniform(-9, 1.5) * uniform(-1, 1).sign()
        if positive:
            a, moves = a.abs(), torch.where(moves < 0, moves.clamp(min=-0.9 * a.abs()), moves)
        d = moves / (epsilon or 1) if varies else torch.zeros_like(a)
        pairs.append(Pair(a.to(dtype), d.to(dtype)))
    return pairs


def difference(name, epsilon, pairs, varying):
    operator = FUNCTIONS[name][0]
    arguments = tuple(pair if varies else pair.primal for pair, varies in zip(pairs, varying, strict=True))
    return on_pairs(operator, epsilon, operator(*(pair.primal for pair in pairs)), arguments, {}).difference


@pytest.mark.in_turn("epsilon", "dtype")
@pytest.mark.parametrize("dtype", (torch.float64, torch.float32), ids=str)
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("which", VARYING)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_differences_are_exact(name, which, epsilon, dtype, assert_accurate):
    pairs = points(name, epsilon, VARYING[which], dtype)
    result = difference(name, epsilon, pairs, VARYING[which])
    assert_accurate(result, FUNCTIONS[name][1], epsilon, *pairs)


@pytest.mark.parametrize("epsilon", (0.3, 1e-4, 0.0))
@pytest.mark.parametrize("which", VARYING)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradcheck(name, which, epsilon):
    varying = VARYING[which]
    pairs = points(name, 1.0, varying, count=6)
    differences = [
        (pair.difference.sign() * 0.1).requires_grad_(varies) for pair, varies in zip(pairs, varying, strict=True)
    ]

    def function(*differences):
        moved = [Pair(pair.primal, d) for pair, d in zip(pairs, differences, strict=True)]
        return difference(name, epsilon, moved, varying)

    assert torch.autograd.gradcheck(function, differences)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("base", (2.0, 0.3))
def test_power_of_a_constant(base, epsilon, assert_accurate):
    _, (a, d) = points("pow", epsilon, (True, True))
    out = aten.pow.Scalar(base, a)
    result = on_pairs(aten.pow.Scalar, epsilon, out, (base, Pair(a, d)), {}).difference
    assert_accurate(result, lambda x: mpmath.mpf(base) ** x, epsilon, (a, d))


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("exponent", (0.0, 1.0, 2.0, 3.0, 2.5))
def test_power_at_zero(exponent, epsilon):
    """As a scalar and as a tensor, 0^y has the difference and the gradient of the function; no 0 log(0)."""
    a, d = torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    for operator, y in ((aten.pow.Tensor_Scalar, exponent), (aten.pow.Tensor_Tensor, torch.full_like(a, exponent))):
        moved = d.clone().requires_grad_()
        result = on_pairs(operator, epsilon, operator(a, y), (Pair(a, moved), y), {}).difference
        at_w = (epsilon * d).requires_grad_()
        expected = torch.pow(at_w, y)
        slope = torch.autograd.grad(expected.sum(), at_w)[0] if expected.requires_grad else torch.zeros_like(d)
        size = slope * d if epsilon == 0 else (expected.detach() - operator(a, y)) / epsilon
        torch.testing.assert_close(result.detach(), size)
        torch.testing.assert_close(torch.autograd.grad(result.sum(), moved)[0], slope)


@pytest.mark.parametrize("name", ("maximum", "minimum"))
def test_equal_infinities_differ_by_their_differences(name):
    """As masked scores do."""
    minus = torch.full((2,), -torch.inf)
    d = torch.tensor([1.0, -2.0])
    assert difference(name, 1e-7, [Pair(minus, d), Pair(minus, d)], (True, True)).tolist() == d.tolist()
