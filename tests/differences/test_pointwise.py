"""Pointwise rules against 50-digit arithmetic, and their gradients against the function's own derivative."""

import mpmath
import pytest
import torch

from lazytorch.differences.pair import Pair
from lazytorch.differences.program import on_pairs

aten = torch.ops.aten
EPSILONS = (1.0, 1e-2, 1e-4, 1e-7, 1e-12)


def _gelu(x):
    return x * mpmath.ncdf(x)


FUNCTIONS = {
    aten.relu.default: lambda x: max(x, mpmath.mpf(0)),
    aten.exp.default: mpmath.exp,
    aten.sigmoid.default: lambda x: 1 / (1 + mpmath.exp(-x)),
    aten.tanh.default: mpmath.tanh,
    aten.softplus.default: lambda x: mpmath.log1p(mpmath.exp(x)),
    aten.gelu.default: _gelu,
    aten.silu.default: lambda x: x / (1 + mpmath.exp(-x)),
    aten.sin.default: mpmath.sin,
    aten.erf.default: mpmath.erf,
}
POSITIVE = {
    aten.log.default: mpmath.log,
    aten.reciprocal.default: lambda x: 1 / x,
    aten.sqrt.default: mpmath.sqrt,
    aten.rsqrt.default: lambda x: 1 / mpmath.sqrt(x),
}
EXACT = {aten.exp.default, aten.sigmoid.default, aten.tanh.default}


def points(epsilon):
    """Values a and differences d on a grid that holds negative and positive, small and large moves eps d."""
    a = torch.tensor([-9.3, -2.7, -1.1, -0.4, -1e-3, 1e-3, 0.3, 0.9, 1.7, 6.1], dtype=torch.float64)
    moves = torch.tensor([-3.0, -0.7, -0.2, -1e-3, -1e-9, 0.0, 1e-9, 1e-3, 0.2, 0.7, 3.0], dtype=torch.float64)
    a, moves = (t.flatten() for t in torch.meshgrid(a, moves, indexing="ij"))
    random = torch.randn(a.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.cat([a, a]), torch.cat([moves / epsilon, random])


def in_fifty_digits(function, epsilon, a, d):
    with mpmath.workdps(50):
        step = mpmath.mpf(epsilon)
        pairs = [(mpmath.mpf(x), mpmath.mpf(y)) for x, y in zip(a.tolist(), d.tolist(), strict=True)]
        results = [(function(x + step * y) - function(x)) / step for x, y in pairs]
        return torch.tensor([float(result) for result in results], dtype=torch.float64)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("operator", FUNCTIONS, ids=str)
def test_differences_agree_with_fifty_digits(operator, epsilon):
    a, d = points(epsilon)
    result = on_pairs(operator, epsilon, operator(a), (Pair(a, d),), {})
    expected = in_fifty_digits(FUNCTIONS[operator], epsilon, a, d)
    torch.testing.assert_close(result.primal, operator(a), rtol=0, atol=0)
    # The plain subtraction serves where nothing cancels; it is exact relative to its operands there.
    size = expected.abs() if operator in EXACT else torch.maximum(expected.abs(), d.abs())
    assert ((result.difference - expected).abs() <= 2e-13 * size).all()


@pytest.mark.parametrize("operator", [*FUNCTIONS, *POSITIVE], ids=str)
def test_limit_is_the_derivative(operator):
    a, d = points(1.0)
    a = a.abs() if operator in POSITIVE else a
    result = on_pairs(operator, 0.0, operator(a), (Pair(a, d),), {})
    _, expected = torch.func.jvp(operator, (a,), (d,))
    torch.testing.assert_close(result.difference, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("operator", POSITIVE, ids=str)
def test_functions_of_positive_numbers(operator, epsilon):
    a = torch.tensor([1e-6, 0.3, 1.0, 42.0], dtype=torch.float64)
    d = torch.tensor([0.5, -0.2, 1.7, 9.0], dtype=torch.float64) * a / max(epsilon, 0.1)
    result = on_pairs(operator, epsilon, operator(a), (Pair(a, d),), {})
    torch.testing.assert_close(result.primal, operator(a), rtol=0, atol=0)
    expected = in_fifty_digits(POSITIVE[operator], epsilon, a, d)
    torch.testing.assert_close(result.difference, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("epsilon", (1.0, 1e-7, 0.0))
@pytest.mark.parametrize("operator", FUNCTIONS, ids=str)
def test_gradient_is_the_derivative_at_w_and_never_nan(operator, epsilon):
    a, d = points(epsilon or 1.0)
    d = d.requires_grad_()
    result = on_pairs(operator, epsilon, operator(a), (Pair(a, d),), {})
    (gradient,) = torch.autograd.grad(result.difference.sum(), d)
    at_w = (a + epsilon * d.detach()).requires_grad_()
    (expected,) = torch.autograd.grad(operator(at_w).sum(), at_w)
    assert gradient.isfinite().all()
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("operator", [op for op in FUNCTIONS if op is not aten.relu.default], ids=str)
def test_gradcheck(operator):
    a = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    d = torch.randn(6, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: on_pairs(operator, 0.3, operator(a), (Pair(a, d),), {}).difference, d)


@pytest.mark.parametrize("epsilon", (1e-30, 1e-12, 0.0))
def test_relu_survives_overflow_of_a_over_epsilon(epsilon):
    a = torch.tensor([-1e20, -1.0, 1.0, 1e20])
    d = torch.tensor([3.0, 3.0, 3.0, 3.0])
    result = on_pairs(aten.relu.default, epsilon, aten.relu.default(a), (Pair(a, d),), {}).difference
    assert result.tolist() == [0.0, 0.0, 3.0, 3.0]
