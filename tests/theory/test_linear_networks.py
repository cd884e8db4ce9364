"""The closed form against a trained module, exact arithmetic and its own limits."""

import mpmath
import numpy as np
import pytest
import scipy.integrate
import torch
from torch import nn

import lazytorch as lt
from lazytorch.kernels import kernel_distance
from lazytorch.theory.linear_networks import (
    BalancedLinearNetwork,
    balanced_weights,
    conserved_quantity,
    distance_by_expansion,
    integrate_flow,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(balance, inputs=3, hidden=3, outputs=3, scale=0.1, correlation=None):
    product = scale**2 * draw(outputs, hidden, seed=1) @ draw(hidden, inputs, seed=2)
    rotation, _ = torch.linalg.qr(draw(hidden, hidden, seed=3))
    target = draw(outputs, inputs, seed=4) if correlation is None else correlation
    return BalancedLinearNetwork(*balanced_weights(product, balance, rotation), target)


def gram(w_1, w_2):
    both = torch.cat([w_1.T, w_2])
    return both @ both.T


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def module(w_1, w_2):
    net = nn.Sequential(nn.Linear(*w_1.T.shape, bias=False), nn.Linear(*w_2.T.shape, bias=False)).double()
    for layer, weight in zip(net, (w_1, w_2), strict=True):
        layer.weight.data = weight.clone()
    return net


@pytest.mark.parametrize("shape", [(3, 3, 3), (5, 3, 4), (4, 2, 2)])
@pytest.mark.parametrize("balance", [-1e3, -0.5, 0.0, 1e-6, 2.0])
def test_weights_are_balanced_and_have_the_product(shape, balance):
    inputs, hidden, outputs = shape
    product = draw(outputs, hidden, seed=1) @ draw(hidden, inputs, seed=2)
    w_1, w_2 = balanced_weights(product, balance, torch.linalg.qr(draw(hidden, hidden, seed=3))[0])
    torch.testing.assert_close(w_2 @ w_1, product, rtol=1e-12, atol=1e-12)
    expected = balance * torch.eye(hidden, dtype=torch.float64)
    torch.testing.assert_close(conserved_quantity(w_1, w_2), expected, rtol=1e-13, atol=1e-12)


def test_what_has_no_balanced_weights_is_refused():
    identity = torch.eye(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="no more hidden units than outputs"):
        balanced_weights(0 * draw(2, 4), 1.0, identity)
    with pytest.raises(ValueError, match="than inputs for lambda < 0"):
        balanced_weights(0 * draw(4, 2), -1.0, identity)
    with pytest.raises(ValueError, match="rank above 3"):
        balanced_weights(draw(4, 4), 1.0, identity)
    with pytest.raises(ValueError, match="make the weights by balanced_weights"):
        BalancedLinearNetwork(draw(3, 3), draw(3, 3, seed=1), identity)


@pytest.mark.parametrize(("balance", "shape"), [(0.05, (3, 3, 3)), (-2.0, (4, 2, 3))])
def test_the_closed_form_is_the_gradient_flow_of_a_module_on_whitened_inputs(balance, shape):
    inputs, hidden, outputs = shape
    x = 10**0.5 * torch.linalg.qr(draw(10, inputs, seed=5))[0]
    y = draw(10, outputs, seed=6)
    closed = network(balance, inputs, hidden, outputs, correlation=y.T @ x / 10)
    net = module(closed.w_1, closed.w_2)

    def velocity(_, flat):
        nn.utils.vector_to_parameters(torch.from_numpy(flat.copy()), net.parameters())
        loss = (y - net(x)).square().sum() / 20
        return -torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))]).numpy()

    start = nn.utils.parameters_to_vector(net.parameters()).detach().numpy()
    end = scipy.integrate.solve_ivp(velocity, (0, 2), start, "DOP853", rtol=1e-10, atol=1e-12).y[:, -1]
    velocity(0, end)
    trained = [layer.weight.detach() for layer in net]
    assert relative(closed.gram(2.0), gram(*trained)) < 1e-8
    (integrated,) = integrate_flow(closed.w_1, closed.w_2, closed.correlation, [2.0])
    assert relative(gram(*integrated), gram(*trained)) < 1e-8
    expected = balance * torch.eye(hidden, dtype=torch.float64)
    torch.testing.assert_close(conserved_quantity(*integrated), expected, rtol=1e-10, atol=1e-10)
    kernel = lt.empirical_ntk(net, torch.eye(inputs, dtype=torch.float64))
    torch.testing.assert_close(kernel, closed.kernel(gram(*trained)), rtol=1e-12, atol=1e-12)
    assert closed.loss(gram(*trained)) == pytest.approx(((closed.correlation - trained[1] @ trained[0]) ** 2).sum() / 2)


def exact(net, t):
    """The form in print, in 200 digits."""
    with mpmath.workdps(200):
        F, start = (mpmath.matrix(m.tolist()) for m in (net.matrix, torch.cat([net.w_1.T, net.w_2])))
        growth = mpmath.expm(F * t)
        integral = F**-1 * (growth * growth - mpmath.eye(F.rows)) / 2
        moved = growth * start
        found = moved * (mpmath.eye(start.cols) + start.T * integral * start) ** -1 * moved.T
        return torch.from_numpy(np.array(found.tolist(), dtype=float))


@pytest.mark.parametrize("balance", [0.05, -3.0])
def test_it_is_exact_at_all_times_and_the_form_in_print_is_not(balance):
    net = network(balance)
    for t in (0.0, 1e-3, 12.0, 40.0):
        assert relative(net.gram(t), exact(net, t)) < 1e-12
    assert relative(net.gram_in_print(1.0), exact(net, 1.0)) < 1e-10
    assert not relative(net.gram_in_print(20.0), exact(net, 20.0)) < 1e-2
    assert relative(net.gram(300 / net.matrix.norm(2).item()), net.limit()) < 1e-6


def test_a_singular_matrix_has_a_closed_form():
    net = network(0.0, correlation=torch.diag(torch.tensor([2.0, 1.0, 0.0]).double()))
    (end,) = integrate_flow(net.w_1, net.w_2, net.correlation, [5.0])
    assert relative(net.gram(5.0), gram(*end)) < 1e-9


def test_times_that_it_does_not_reach_are_refused():
    net = network(1.0)
    for t in (-1.0, 1e4):
        with pytest.raises(ValueError, match="for later times use limit"):
            net.gram(t)


def test_the_expansion_is_the_limit_of_large_lambda():
    for shape, balance in (((5, 3, 3), 100.0), ((3, 3, 4), -100.0), ((5, 3, 3), -1e3), ((3, 3, 5), 1e3)):
        net = network(balance, *shape)
        distance = kernel_distance(net.kernel(net.gram(0.0)), net.kernel(net.limit()))
        assert distance_by_expansion(net) == pytest.approx(distance, rel=0.02)
