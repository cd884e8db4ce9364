"""Softmax, log-softmax and logsumexp of rows against 200-digit arithmetic."""

import mpmath
import pytest
import torch

from lazytorch.differences.operators import on_pairs
from lazytorch.differences.pair import Pair

aten = torch.ops.aten
EPSILONS = (1.0, 1e-2, 1e-4, 1e-7, 1e-12, 0.0)


def _softmax(row):
    exponentials = [mpmath.exp(x) for x in row]
    return [x / sum(exponentials) for x in exponentials]


def _log_softmax(row):
    return [x - _logsumexp(row)[0] for x in row]


def _logsumexp(row):
    return [mpmath.log(sum(map(mpmath.exp, row)))]


#: name -> (operator, further arguments, the function of a row)
FUNCTIONS = {
    "softmax": (aten._softmax.default, (1, False), _softmax),
    "log-softmax": (aten._log_softmax.default, (1, False), _log_softmax),
    "logsumexp": (aten.logsumexp.default, ([1], True), _logsumexp),
}


def difference(name, epsilon, a, d):
    operator, further, _ = FUNCTIONS[name]
    return on_pairs(operator, epsilon, operator(a, *further), (Pair(a, d), *further), {}).difference


def rows(epsilon, dtype=torch.float64):
    """Rows of 5 with |a| and |eps d| from 1e-6 to 100; in the last, d is nearly constant, or one entry stands out."""
    generator = torch.Generator().manual_seed(0)
    sizes = 10 ** torch.linspace(-6, 2, 9, dtype=torch.float64)
    sizes, moves = (t.flatten()[:, None] for t in torch.meshgrid(sizes, sizes, indexing="ij"))
    a, d = torch.empty(2, len(sizes), 5, dtype=torch.float64).uniform_(-1, 1, generator=generator)
    a, d = a * sizes, d * moves
    d[-4:-2] = 50 + 1e-6 * d[-4:-2]
    d[-2:] = torch.tensor([100.0, 1e-6, 0, 2e-6, -1e-6])
    a[-2:] = torch.tensor([[-100.0, 1, 0, 2, 0], [100.0, 1, 0, 2, 0]])
    return a.to(dtype), (d / (epsilon or 1)).to(dtype)


@pytest.mark.in_turn("epsilon", "dtype")
@pytest.mark.parametrize("dtype", (torch.float64, torch.float32), ids=str)
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_differences_are_exact(name, epsilon, dtype):
    """Up to 200 roundings of the result and of the spread of d, which a common change of d does not alter."""
    a, d = rows(epsilon, dtype)
    result = difference(name, epsilon, a, d)
    with mpmath.workdps(300):
        step = mpmath.mpf(epsilon) or mpmath.mpf(10) ** -60
        for row, move, got in zip(a.tolist(), d.tolist(), result.tolist(), strict=True):
            start = FUNCTIONS[name][2]([mpmath.mpf(x) for x in row])
            end = FUNCTIONS[name][2]([mpmath.mpf(x) + step * mpmath.mpf(y) for x, y in zip(row, move, strict=True)])
            exact = [(y - x) / step for x, y in zip(start, end, strict=True)]
            largest = max(map(abs, move))
            spread = largest if name == "logsumexp" else max(move) - min(move) + 10 * torch.finfo(dtype).eps * largest
            scale = [max(x, y) if name == "softmax" else 1 for x, y in zip(start, end, strict=True)]
            for x, y, s in zip(got, exact, scale, strict=True):
                assert abs(x - y) <= 200 * torch.finfo(dtype).eps * (abs(y) + s * spread) + 1e-30 / (epsilon or 1)


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_is_the_derivative_at_w(name, epsilon):
    operator, further, _ = FUNCTIONS[name]
    a, d = rows(epsilon)
    d.requires_grad_()
    result = difference(name, epsilon, a, d)
    cotangent = torch.randn(result.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    at_w = (a + epsilon * d.detach()).requires_grad_()
    torch.testing.assert_close(
        torch.autograd.grad(result, d, cotangent), torch.autograd.grad(operator(at_w, *further), at_w, cotangent)
    )
    a, d = torch.randn(2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.autograd.gradcheck(lambda d: difference(name, epsilon, a, d), d.requires_grad_())


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_masked_entries_do_not_count(name, epsilon):
    """Scores of -inf, as attention has, whatever their d; where all of a row is masked, nothing else turns NaN."""
    a, d = rows(epsilon)
    masked = torch.cat([a, torch.full_like(a[:, :1], -torch.inf)], 1)
    d = torch.cat([d, 100 / (epsilon or 1) * torch.ones_like(d[:, :1])], 1)
    all_masked = torch.full_like(masked[:1], -torch.inf)
    masked, d = torch.cat([masked, all_masked]), torch.cat([d, d[:1]]).requires_grad_()
    result, expected = difference(name, epsilon, masked, d)[:-1], difference(name, epsilon, a, d.detach()[:-1, :5])
    torch.testing.assert_close(result[:, : expected.shape[1]], expected)
    if name == "softmax":
        assert not result[:, 5].any()
        (gradient,) = torch.autograd.grad(result.square().sum(), d)
        assert gradient[:-1].isfinite().all()


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16), ids=str)
@pytest.mark.parametrize("epsilon", (1e-7, 0.1, 0.9))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_short_types_hold_differences(name, epsilon, dtype):
    """Also where eps d is below the range of the type, as it is in float16."""
    a, d = torch.randn(2, 10, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    result, expected = difference(name, epsilon, a, d), difference(name, epsilon, a.double(), d.double())
    assert result.dtype == dtype
    assert (result - expected).norm() <= 4 * torch.finfo(dtype).eps * expected.norm()
