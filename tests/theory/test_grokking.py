"""The reduction to moments against the network itself, and what it says of the distribution against quadrature."""

import math

import numpy as np
import pytest
import torch

import lazytorch as lt
from lazytorch.theory.grokking import MomentDescent, Moments, Quadratic, QuadraticNetwork, kernel_regression

D, P, N, CURVATURE, RATE = 4, 9, 7, 0.5, 0.5


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


WEIGHTS, X, Y = draw(N, D, seed=1), draw(P, D, seed=2) / D**0.5, draw(P, seed=3)


def descend(alpha, steps, rate=RATE, kind=MomentDescent):
    """The moments after some steps."""
    descent = kind(X, Y, Moments.of(WEIGHTS), CURVATURE, alpha, rate)
    for _ in range(steps):
        descent.step(descent.function(X) - Y)
    return descent


def train(alpha, steps):
    """The network itself, trained."""
    model = lt.CenteredModel(QuadraticNetwork(WEIGHTS, CURVATURE), alpha)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE * N)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(X), Y).backward()
        optimizer.step()
    return model


def error(descent, model):
    outputs = model(X).detach()
    return ((descent.function(X) - outputs).norm() / outputs.norm()).item()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 20.0, 1e8, math.inf])
def test_the_reduction_is_the_network(alpha):
    model, descent = train(alpha, 30), descend(alpha, 30)
    assert error(descent, model) < 1e-12
    for found, expected in zip(vars(Quadratic.of(model)).values(), vars(descent.function).values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


def test_wrong_steps_are_caught():
    class WithoutSquares(MomentDescent):
        def step(self, residual):
            alpha, self.alpha = self.alpha, math.inf
            super().step(residual)
            self.alpha = alpha

    model = train(1.0, 30)
    assert error(descend(1.0, 30, rate=RATE / 2), model) > 1e-2  # s of the loss |r|^2 / 2 P
    assert error(descend(1.0, 30, kind=WithoutSquares), model) > 1e-4
    assert error(descend(math.inf, 30), model) > 1e-2


def test_the_unscaled_recursion_is_the_same():
    alpha, steps = 0.5, 30
    s, start = 2 * RATE / (alpha * P), Moments.of(WEIGHTS)
    mean, second = start.mean, start.second
    for _ in range(steps):
        change = Quadratic(mean - start.mean, CURVATURE / 2 * (second - start.second))
        r = alpha * change(X) - Y
        g, A = X.T @ r, torch.eye(D, dtype=torch.float64) - s * CURVATURE * X.T @ torch.diag(r) @ X
        cross = torch.outer(A @ mean, g)
        second = A @ second @ A - s * (cross + cross.T) + s**2 * torch.outer(g, g)
        mean = A @ mean - s * g
    moments = descend(alpha, steps).moments
    torch.testing.assert_close(moments.mean, mean, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(moments.second, second, rtol=1e-12, atol=1e-14)


def test_the_kernel_is_that_of_the_trained_network():
    model, z = train(0.5, 20), draw(3, D, seed=4)
    kernel = lt.empirical_ntk(model.to_module(torch.float64), X, z)[..., 0, 0]
    torch.testing.assert_close(N * kernel, descend(0.5, 20).moments.kernel(X, z, CURVATURE), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("samples", [P, 40])  # fewer and more than there are quadratics
def test_regression_is_the_end_of_the_linearized_training(samples):
    x, y, z = draw(samples, 2, seed=5) / 2**0.5, draw(samples, seed=6), draw(3, 2, seed=7)
    start = Moments.of(draw(N, 2, seed=8))
    found = kernel_regression(x, y, start, CURVATURE)
    kernel, other = (start.kernel(a, x, CURVATURE) for a in (x, z))
    expected = other @ torch.linalg.lstsq(kernel, y, rcond=1e-12, driver="gelsd").solution
    torch.testing.assert_close(found(z), expected, rtol=1e-8, atol=1e-8)
    descent = MomentDescent(x, y, start, CURVATURE, math.inf, 0.5)
    for _ in range(2000):
        descent.step(descent.function(x) - y)
    assert (descent.function(x) - found(x)).norm() < 0.02 * found(x).norm()


def test_means_over_the_distribution_are_those_of_a_quadrature():
    nodes, weights = np.polynomial.hermite_e.hermegauss(6)
    x = torch.tensor([[a, b] for a in nodes for b in nodes]) / 2**0.5
    p = torch.tensor([v * w for v in weights for w in weights])
    p = p / p.sum()
    form = draw(2, 2, seed=9)
    target = Quadratic(draw(2, seed=10), form + form.T)
    assert target.mean_square() == pytest.approx((p @ target(x).square()).item(), rel=1e-12)
    moments = Moments.of(draw(5, 2, seed=11))
    centred = torch.eye(len(p), dtype=torch.float64) - p
    kernel = centred @ moments.kernel(x, x, CURVATURE) @ centred.T
    y = centred @ target(x)
    cosine = (p * y) @ kernel @ (p * y) / (p @ kernel.square() @ p).sqrt() / (p @ y.square())
    assert moments.alignment(target, CURVATURE) == pytest.approx(cosine.item(), rel=1e-12)
