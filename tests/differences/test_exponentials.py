"""tanh z and e^z - 1 in float32 against float64, by the series of many small values and by torch's functions."""

import pytest
import torch

from lazytorch.differences.exponentials import MANY, SMALL, growth, tanh_


def values(size, many):
    """Of both signs, from tiny to ``size``; that is passed by one of them alone where it is above the series' range."""
    exponents = torch.linspace(-30, 0, MANY if many else 1000)
    return size * 10**exponents * torch.tensor([1.0, -1.0]).repeat(len(exponents) // 2)


def error(found, expected):
    assert found.dtype == torch.float32
    return ((found - expected) / expected).abs().max()


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("size", [SMALL, 1.001 * SMALL, 0.9, 30.0])
def test_the_hyperbolic_tangent(size, many):
    z = values(size, many)
    assert error(tanh_(z.clone()), torch.tanh(z.double())) < 1.2e-7


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("size", [SMALL, 2.1 * SMALL, 1.0, 30.0])
@pytest.mark.parametrize("epsilon", [1.0, 1e-7, -1e3])
def test_growth(size, many, epsilon):
    z = values(size, many).clamp_max(1)
    d = (z.double() / epsilon).float()
    assert error(growth(epsilon, d.clone()), torch.expm1(epsilon * d.double()) / epsilon) < 3e-7


def test_what_is_not_finite_stays_so():
    z = torch.zeros(MANY)
    z[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    torch.testing.assert_close(tanh_(z.clone())[:3], torch.tensor([torch.nan, 1.0, -1.0]), equal_nan=True)
