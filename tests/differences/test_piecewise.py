"""Functions with kinks: who decides on which piece w lies, what the gradient is on a kink, and clamping by tensors."""

import pytest
import torch

from lazytorch.differences.operators import on_pairs
from lazytorch.differences.pair import Pair

aten = torch.ops.aten

#: name -> (operator, further arguments, a kink)
KINKS = {
    "relu": (aten.relu.default, (), 0.0),
    "abs": (aten.abs.default, (), 0.0),
    "leaky_relu": (aten.leaky_relu.default, (0.125,), 0.0),
    "elu": (aten.elu.default, (0.5,), 0.0),
    "hardtanh": (aten.hardtanh.default, (-1.0, 5.0), 5.0),
    "relu6": (aten.relu6.default, (), 6.0),
    "hardsigmoid": (aten.hardsigmoid.default, (), 3.0),
    "clamp": (aten.clamp.default, (-1.0, 5.0), 5.0),
    "clamp from below": (aten.clamp.default, (5.0,), 5.0),
}


def _slopes(name, epsilon, a, d):
    operator, further, _ = KINKS[name]
    d = torch.as_tensor(d, dtype=a.dtype).expand_as(a).clone().requires_grad_()
    result = on_pairs(operator, epsilon, operator(a, *further), (Pair(a, d), *further), {}).difference
    return torch.autograd.grad(result.sum(), d)[0]


def _derivative(name, x):
    x = x.clone().requires_grad_()
    operator, further, _ = KINKS[name]
    return torch.autograd.grad(operator(x, *further).sum(), x)[0]


@pytest.mark.parametrize("epsilon", (1.0, 1e-12, 0.0))
@pytest.mark.parametrize("name", KINKS)
def test_on_a_kink_the_gradient_is_torch_s(name, epsilon):
    kink = torch.tensor([KINKS[name][2]])
    torch.testing.assert_close(_slopes(name, epsilon, kink, 0.0), _derivative(name, kink))


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("side", (-1.0, 1.0))
def test_differences_decide_the_piece_where_values_round_to_the_kink(name, side):
    kink = torch.tensor([KINKS[name][2]])
    expected = _derivative(name, kink + 0.01 * side)
    torch.testing.assert_close(_slopes(name, 1e-12, kink, side), expected, rtol=0.02, atol=0.0)


@pytest.mark.parametrize("weights", (1, 3))
@pytest.mark.parametrize("epsilon", (1.0, 1e-7, 0.0))
def test_clamping_by_tensors_that_move_too(weights, epsilon):
    """Between moving bounds, in the order that torch takes them (the upper one wins)."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(3, 200, dtype=torch.float64, generator=generator)
    d = torch.randn(3, 200, dtype=torch.float64, generator=generator) / max(epsilon, 0.1)
    pairs = [Pair(*both) if i < weights else both[0] for i, both in enumerate(zip(a, d, strict=True))]
    result = on_pairs(aten.clamp.Tensor, epsilon, aten.clamp.Tensor(*a), tuple(pairs), {}).difference
    d[weights:] = 0
    if epsilon == 0:
        expected = torch.func.jvp(torch.clamp, tuple(a), tuple(d))[1]
    elif epsilon == 1:
        expected = torch.clamp(*(a + d)) - torch.clamp(*a)
    else:  # too small a step for any to change places
        expected = torch.where(a[1] > a[2], d[2], torch.where(a[0] < a[1], d[1], torch.where(a[0] > a[2], d[2], d[0])))
    torch.testing.assert_close(result, expected)
