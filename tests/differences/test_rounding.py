"""Integer parts, remainders and signs: jumps over eps where the differences cross one, in 200-digit arithmetic."""

import mpmath
import pytest
import torch

from lazytorch.differences.operators import on_pairs
from lazytorch.differences.pair import Pair

aten = torch.ops.aten
EPSILONS = (1.0, 1e-2, 1e-4, 1e-7, 1e-12, 0.0)


def _trunc(x):
    return mpmath.floor(x) if x >= 0 else mpmath.ceil(x)


ROUNDINGS = {
    "floor": (aten.floor.default, mpmath.floor),
    "ceil": (aten.ceil.default, mpmath.ceil),
    "trunc": (aten.trunc.default, _trunc),
    "round": (aten.round.default, mpmath.nint),
    "sign": (aten.sign.default, mpmath.sign),
}
#: name -> (operator, keyword arguments, the function of x and the divisor)
DIVISIONS = {
    "remainder": (aten.remainder.Tensor, {}, lambda x, y: x - y * mpmath.floor(x / y)),
    "fmod": (aten.fmod.Tensor, {}, lambda x, y: x - y * _trunc(x / y)),
    "floor of a quotient": (aten.div.Tensor_mode, {"rounding_mode": "floor"}, lambda x, y: mpmath.floor(x / y)),
    "trunc of a quotient": (aten.div.Tensor_mode, {"rounding_mode": "trunc"}, lambda x, y: _trunc(x / y)),
}
VARYING = {"both": (True, True), "first": (True, False), "second": (False, True)}


@pytest.mark.parametrize("dtype", (torch.float64, torch.float32), ids=str)
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", ROUNDINGS)
def test_differences_decide_the_integer(name, epsilon, dtype, assert_accurate):
    """On a grid of multiples of 1/4, ties included, and moves so small that a + eps d rounds to a."""
    operator, function = ROUNDINGS[name]
    a, moves = torch.meshgrid(
        torch.arange(-14, 15) / 4, torch.tensor([-2.25, -0.5, -1e-9, 0.0, 1e-9, 0.5, 1.0]), indexing="ij"
    )
    a, d = a.flatten().to(dtype), (moves.flatten().double() / (epsilon or 1)).to(dtype)
    if epsilon not in (0, 1):  # only then is eps d exact, so that w may lie on a tie
        d = d * 1.01
    result = on_pairs(operator, epsilon, operator(a), (Pair(a, d),), {}).difference
    if epsilon == 0:
        assert not result.any()
    else:
        assert_accurate(result, function, epsilon, (a, d))


@pytest.mark.in_turn("epsilon", "dtype")
@pytest.mark.parametrize("dtype", (torch.float64, torch.float32), ids=str)
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("which", VARYING)
@pytest.mark.parametrize("name", DIVISIONS)
def test_remainders(name, which, epsilon, dtype, assert_accurate):
    operator, keywords, function = DIVISIONS[name]
    generator = torch.Generator().manual_seed(0)
    pairs, arguments = [], []
    for limit, varies in zip((20.0, 3.0), VARYING[which], strict=True):
        a = torch.empty(100, dtype=torch.float64).uniform_(0.3, limit, generator=generator)
        a = a * (torch.randn(100, generator=generator).sign() if limit > 3 else 1)
        d = a * torch.randn(100, dtype=torch.float64, generator=generator) * 0.1 / max(epsilon, 1e-7) * varies
        pairs.append(Pair(a.to(dtype), d.to(dtype)))
        arguments.append(pairs[-1] if varies else pairs[-1].primal)
    out = operator(*(pair.primal for pair in pairs), **keywords)
    result = on_pairs(operator, epsilon, out, tuple(arguments), keywords).difference
    assert_accurate(result, function, epsilon, *pairs, roundings=2000 if which != "first" else 128)


def test_remainder_below_a_multiple():
    """At w_0 a whole number of times; at w, by a difference that a + eps d rounds away, one time less."""
    a, d = torch.tensor([3.0, -3.0, 0.0]), torch.tensor([-1.0, -1.0, -1.0])
    for operator, expected in ((aten.remainder.Scalar, [1e12, 1e12, 1e12]), (aten.fmod.Scalar, [1e12, 0.0, 0.0])):
        result = on_pairs(operator, 1e-12, operator(a, 1.0), (Pair(a, d), 1.0), {}).difference
        torch.testing.assert_close(result, torch.tensor(expected), rtol=1e-6, atol=1.5)


@pytest.mark.parametrize("epsilon", (0.3, 0.0))
def test_gradient_of_a_remainder(epsilon):
    a, c = torch.tensor([2.7, -5.3, 9.1], dtype=torch.float64), torch.tensor([0.8, 1.7, 2.0], dtype=torch.float64)
    d, e = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in ([0.1, -0.2, 5.3], [0.3, 0.1, -0.2]))
    for operator in (aten.remainder.Tensor, aten.fmod.Tensor):

        def function(d, e, operator=operator):
            return on_pairs(operator, epsilon, operator(a, c), (Pair(a, d), Pair(c, e)), {}).difference

        assert torch.autograd.gradcheck(function, (d, e))
