"""The deep linear toy: its edge against the Hessian at the solution, its descent against a module's."""

import math

import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.theory import deep_scalar_edge, deep_scalar_losses

LAYERS = (2, 3, 4)


class Product(nn.Module):
    """The product of L weights, all 1 at the start, whatever the input."""

    def __init__(self, layers):
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.ones((), dtype=torch.float64)) for _ in range(layers)])

    def forward(self, x):
        product = x
        for weight in self.weights:
            product = product * weight
        return product


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("alpha", (1e-4, 0.3, 10.0, 1e4))
def test_the_edge_is_two_over_the_sharpness_at_the_solution(layers, alpha):
    solution = alpha * ((1 + 1 / alpha) ** (1 / layers) - 1) * torch.ones(layers, dtype=torch.float64)
    hessian = torch.func.hessian(lambda theta: (alpha * ((1 + theta / alpha).prod() - 1) - 1).square())(solution)
    edge = 2 / torch.linalg.eigvalsh(hessian)[-1].item()
    assert deep_scalar_edge(layers, alpha) == pytest.approx(edge, rel=1e-6)
    for wrong in ((1 + 1 / alpha) ** (1 / layers - 1) / layers, (1 + 1 / alpha) ** (2 / layers - 2)):
        assert alpha > 1 or wrong != pytest.approx(edge, rel=1e-2)


@pytest.mark.parametrize("layers", LAYERS)
def test_the_losses_are_those_of_the_module_with_a_number_a_layer(layers):
    x, lrs = torch.ones(1, 1, dtype=torch.float64), (0.02, 0.1)
    for alpha in (0.5, 100.0):
        expected = []
        for lr in lrs:
            model = lt.CenteredModel(Product(layers), alpha)
            optimizer = torch.optim.SGD(model.parameters(), lr)
            for _ in range(5):
                optimizer.zero_grad()
                (model(x) - 1).square().mean().backward()
                optimizer.step()
            expected.append((model(x) - 1).square().item())
        assert deep_scalar_losses(layers, alpha, lrs, 5).tolist() == pytest.approx(expected, rel=1e-9)


def test_descent_converges_below_the_edge_and_not_above():
    alphas = torch.logspace(-4, 4, 9, dtype=torch.float64)[:, None]
    for layers in LAYERS:
        lrs = deep_scalar_edge(layers, alphas) * torch.tensor([0.5, 0.98, 1.02], dtype=torch.float64)
        ends = deep_scalar_losses(layers, alphas, lrs, 1500)
        assert (ends[:, :2] < 1e-10).all() and not (ends[:, 2] < 1e-3).any()


@pytest.mark.parametrize("layers", LAYERS)
def test_the_exponents_of_the_step_on_w(layers):
    """eta_w = eta / alpha^2 ~ gamma^(2/L) for gamma = 1/alpha >> 1, gamma^2 for gamma << 1."""
    for low, high, power in ((1e-8, 1e-7, 2 / layers), (1e7, 1e8, 2)):
        rates = [deep_scalar_edge(layers, alpha) / alpha**2 for alpha in (low, high)]
        assert math.log10(rates[0] / rates[1]) == pytest.approx(power, abs=1e-6)
