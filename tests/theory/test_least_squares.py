"""Least squares in closed form, against autograd, the matrix exponential and the enumeration of all draws."""

import itertools

import pytest
import torch

import lazytorch as lt
from lazytorch.theory import LeastSquares, stochastic_descent

SHAPES = {"more": (12, 3), "fewer": (4, 9)}


def problem(examples, dimensions, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, dimensions, generator=generator, dtype=torch.float64)
    y = torch.randn(examples, generator=generator, dtype=torch.float64)
    return LeastSquares(x, y), torch.randn(dimensions, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_descent_is_autograds_and_stays_in_the_span(shape):
    given, start = problem(*shape)
    lr = 1.8 / given.eigenvalues[-1].item()
    w = start.clone().requires_grad_()
    found = torch.stack([w.detach().clone() for _ in lt.theory.descend([w], lambda: given.loss(w), lr, 400)])
    expected = given.descent(start, lr, torch.arange(401))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(found, given.descent(start, lr / 2, torch.arange(401)), atol=1e-2)  # another rate's
    assert given.outside_span(found - start).abs().max() < 1e-13
    if shape[0] < shape[1]:
        assert given.outside_span(start).norm() > 0.1
        modes = given.modes(found)
        torch.testing.assert_close(modes[-1, given.eigenvalues < 1e-12], modes[0, given.eigenvalues < 1e-12])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_from_zero_it_goes_to_the_solution_of_least_norm(shape):
    given, _ = problem(*shape)
    least = torch.linalg.lstsq(given.x, given.y[:, None], driver="gelsd").solution[:, 0]
    torch.testing.assert_close(given.solution, least, rtol=1e-10, atol=1e-12)
    end = given.descent(torch.zeros(shape[1]).double(), 1 / given.eigenvalues[-1].item(), torch.tensor([10**6]))[0]
    torch.testing.assert_close(end, least, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_flow_is_the_solution_of_the_linear_equation(shape):
    """exp of the augmented matrix solves dw/dt = -A w + b whatever the rank of A."""
    given, start = problem(*shape)
    d = shape[1]
    augmented = torch.zeros(d + 1, d + 1, dtype=torch.float64)
    augmented[:d, :d], augmented[:d, d] = -given.hessian, given.x.T @ given.y / len(given.x)
    for time in (0.0, 0.7, 5.0):
        expected = torch.linalg.matrix_exp(time * augmented) @ torch.cat([start, start.new_ones(1)])
        torch.testing.assert_close(
            given.flow(start, torch.tensor([time], dtype=torch.float64))[0], expected[:d], rtol=1e-11, atol=1e-12
        )


@pytest.mark.parametrize("shape", ((3, 2), (2, 3)))
def test_the_moments_are_the_means_over_all_draws(shape):
    given, start = problem(*shape)
    lr, steps = 0.3, 4
    means, seconds = given.moments(start, lr, steps)
    ends = []
    for draws in itertools.product(range(shape[0]), repeat=steps):
        w = start
        for i in draws:
            w = w - lr * (given.x[i] @ w - given.y[i]) * given.x[i]
        ends.append(w)
    errors = torch.stack(ends) - given.solution
    torch.testing.assert_close(means[-1], errors.mean(0), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(seconds[-1], errors.T @ errors / len(errors), rtol=1e-12, atol=1e-13)
    least = given.loss(given.solution)
    torch.testing.assert_close(least + given.excess(seconds[-1]), given.loss(torch.stack(ends)).mean())


def test_the_floor_is_where_the_moments_end_and_not_that_of_small_steps():
    given, start = problem(12, 3)
    lr = 0.15
    floor = given.excess(given.stationary(lr)).item()
    assert given.excess(given.moments(start, lr, 3000)[1][-1]).item() == pytest.approx(floor, rel=1e-10)
    assert floor > 1.1 * given.floor_of_small_steps(lr)
    assert given.excess(given.stationary(1e-5)).item() == pytest.approx(given.floor_of_small_steps(1e-5), rel=1e-3)


def test_the_floor_of_examples_of_one_length_is_the_closed_form():
    given, _ = problem(12, 3)
    x = 1.5 * given.x / given.x.norm(dim=1, keepdim=True)
    given, lr = LeastSquares(x, given.y), 0.4
    least = given.loss(given.solution).item()
    expected = least * lr * 1.5**2 / (2 - lr * 1.5**2)
    assert given.excess(given.stationary(lr)).item() == pytest.approx(expected, rel=1e-12)


def test_interpolated_data_have_no_floor():
    given, start = problem(12, 3)
    exact = LeastSquares(given.x, given.x @ start)
    assert exact.excess(exact.stationary(0.1)).abs() < 1e-25


def test_chains_have_the_mean_loss_of_the_moments():
    given, start = problem(12, 3)
    torch.manual_seed(0)
    *_, w = stochastic_descent(given, start, 0.15, 60, 4000)
    excess = given.loss(w) - given.loss(given.solution)
    error = excess.std() / 4000**0.5
    expected = given.excess(given.moments(start, 0.15, 60)[1][-1])
    assert abs(excess.mean() - expected) < 5 * error < 0.3 * expected


def test_what_cannot_be_is_refused():
    given, start = problem(12, 3)
    with pytest.raises(ValueError, match=r"lr=5 is not stable in mean square: give a smaller one"):
        given.stationary(5.0)
    with pytest.raises(ValueError, match=r"the examples do not span the space"):
        problem(4, 9)[0].stationary(0.1)
    with pytest.raises(ValueError, match=r"give \(n, d\) and \(n,\)"):
        LeastSquares(given.x, start)
