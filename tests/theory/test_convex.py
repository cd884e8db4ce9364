"""Closed forms of descent on convex functions of one variable, against autograd."""

import pytest
import torch
import torch.nn.functional as F

import lazytorch as lt
from lazytorch.theory.convex import descend_absolute, descend_huber, descend_quadratic

T = torch.arange(61)


def iterates(objective, start, lr):
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    return torch.stack([w.detach().clone() for _ in lt.theory.descend([w], lambda: objective(w), lr, 60)])


@pytest.mark.parametrize("start", (1.003, -0.77, 0.0))
def test_they_are_those_of_autograd(start):
    cases = [
        (lambda w: 3 * w.abs(), 0.01, descend_absolute(start, 0.01, T, 3.0)),
        (lambda w: F.huber_loss(w, torch.zeros_like(w), delta=0.2), 0.3, descend_huber(start, 0.3, T, 0.2)),
        (lambda w: 0.7 * w**2 / 2, 2.5, descend_quadratic(start, 2.5, T, 0.7)),
    ]
    for objective, lr, expected in cases:
        torch.testing.assert_close(iterates(objective, start, lr), expected, rtol=1e-12, atol=1e-13)


def test_another_threshold_or_slope_is_seen():
    found = iterates(lambda w: F.huber_loss(w, torch.zeros_like(w), delta=0.2), 1.0, 0.3)
    assert not torch.allclose(found, descend_huber(1.0, 0.3, T, 0.25), atol=1e-3)
    assert not torch.allclose(
        iterates(lambda w: 3 * w.abs(), 1.0, 0.01), descend_absolute(1.0, 0.01, T, 2.9), atol=1e-3
    )


def test_the_subgradient_step_is_epsilon_over_g_squared():
    slope, epsilon = 10.0, 0.1
    steps = torch.arange(round(1.003**2 * slope**2 / epsilon**2))
    right = slope * descend_absolute(1.003, epsilon / slope**2, steps, slope).abs()
    assert (right[101:] <= epsilon).all() and right.mean() <= epsilon
    printed = slope * descend_absolute(1.003, slope / epsilon, steps, slope).abs()
    assert printed.min() > epsilon and printed.mean() > 1e3 * epsilon
