"""The Hessian and its relatives against explicit matrices."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lazytorch as lt
from lazytorch.theory import hessian_operator, hessian_spectra

from .test_differentials import tensors

LABELS = torch.tensor([2, 0, 1, 1])


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)), torch.randn(4, 3)


def explicit(net, x):
    """The residual, J and the matrix of the residual's part, formed."""
    value, first, second = tensors(net, x)
    residual = value - F.one_hot(LABELS, 3).flatten()
    return residual, first, torch.tensordot(residual, second, 1)


def test_the_operator_is_the_hessian_of_the_loss():
    net, x = network()
    operator = hessian_operator(net, x, LABELS)
    net = net.double()
    start = nn.utils.parameters_to_vector(net.parameters()).detach()

    def loss(w):
        parts = w.split([p.numel() for p in net.parameters()])
        values = {name: p.view_as(q) for p, (name, q) in zip(parts, net.named_parameters(), strict=True)}
        outputs = torch.func.functional_call(net, values, (x.double(),))
        return (outputs - F.one_hot(LABELS, 3)).square().sum() / 8

    expected = torch.func.hessian(loss)(start)
    np.testing.assert_allclose(operator @ np.eye(len(start)), expected, atol=1e-12)


def test_spectra_and_weyls_bound():
    net, x = network()
    found, (residual, first, curvature) = hessian_spectra(net, x, LABELS, count=6), explicit(network()[0], x)
    assert found.loss == pytest.approx(residual.square().sum().item() / 8)
    top = lambda matrix: torch.linalg.eigvalsh(matrix).flip(0)[:6].numpy() / 4  # noqa: E731
    np.testing.assert_allclose(found.hessian, top(first.T @ first + curvature), rtol=1e-9)
    np.testing.assert_allclose(found.gauss_newton, top(first.T @ first), rtol=1e-9)
    np.testing.assert_allclose(found.kernel, top(first @ first.T), rtol=1e-9)
    assert found.bound == pytest.approx(torch.linalg.matrix_norm(curvature, 2).item() / 4)
    differences = np.abs(found.hessian - found.gauss_newton)
    assert found.difference == pytest.approx(max(differences / found.gauss_newton)) and found.difference > 0.01
    assert max(differences) <= found.bound and not max(differences) <= found.bound / 10


def test_the_bound_relative_to_the_largest_eigenvalue_is_at_most_kappa():
    """kappa is from below, but this close to the norm of the second differential it is not below the bound."""
    net, x = network()
    found = hessian_spectra(net, x, LABELS, count=1)
    criterion = lt.theory.kappa(net, x, LABELS, starts=1)
    assert found.bound / found.kernel[0] <= criterion.kappa
    assert criterion.residual == pytest.approx(math.sqrt(2 * found.loss))


def test_where_the_residual_is_zero_the_two_are_one():
    net, x = network()
    net = net.double()
    outputs = net(x.double()).detach()
    found = hessian_spectra(net, x, outputs, count=12)
    assert found.loss < 1e-30 and found.bound < 1e-13
    np.testing.assert_allclose(found.hessian, found.kernel, rtol=1e-10)
    nearer = (outputs + step * torch.ones_like(outputs) for step in (0.01, 1e-4))
    ends = [hessian_spectra(net, x, targets, count=3).difference for targets in nearer]
    assert ends[0] / ends[1] == pytest.approx(100, rel=0.05)  # linear in the residual, not quadratic


def test_refusals():
    net, x = network()
    with pytest.raises(TypeError, match=r"net is a CenteredModel: give net.to_module\(torch.float64\)"):
        hessian_operator(lt.CenteredModel(net, 2.0), x, LABELS)
    with pytest.raises(ValueError, match="y has shape"):
        hessian_operator(net, x, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="ask for 1 to 12"):
        hessian_spectra(net, x, LABELS, count=13)
