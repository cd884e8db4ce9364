"""The closed forms against explicit training of theta, exact arithmetic, and each other."""

import math

import mpmath
import numpy as np
import pytest
import torch

from lazytorch.theory import LinearDynamics
from lazytorch.theory.linear_dynamics import descent_time, flow_time

N, M, K, P = 5, 3, 2, 40


def full(left, right):
    """The full kernel (n1, n2, K, K) of two Jacobians (n, K, P)."""
    return torch.einsum("ikp,jlp->ijkl", left, right)


class Problem:
    """A linear model F = F(0) + J theta with everything that its dynamics are made from."""

    def __init__(self, jacobian=None, parameters=P):
        generator = torch.Generator().manual_seed(0)

        def draw(*shape):
            return torch.randn(*shape, dtype=torch.float64, generator=generator)

        self.jacobian = draw(N, K, parameters) if jacobian is None else jacobian
        self.test_jacobian = draw(M, K, self.jacobian.shape[-1])
        n = len(self.jacobian)
        self.targets, self.test_targets, self.start, self.test_start = draw(n, K), draw(M, K), draw(n, K), draw(M, K)
        self.kernel = full(self.jacobian, self.jacobian)
        self.test_kernel = full(self.test_jacobian, self.jacobian)

    def dynamics(self, **other):
        names = ("kernel", "targets", "test_kernel", "test_targets", "start", "test_start")
        return LinearDynamics(**{name: getattr(self, name) for name in names} | other)

    def trained(self, steps, lr, momentum):
        """(outputs, test outputs) after every step of torch.optim.SGD on theta, from step 0."""
        theta = torch.zeros(self.jacobian.shape[-1], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([theta], lr=lr, momentum=momentum)
        rows = []
        for _ in range(steps + 1):
            outputs = self.start + self.jacobian @ theta
            rows.append((outputs.detach(), (self.test_start + self.test_jacobian @ theta).detach()))
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(outputs, self.targets).backward()
            optimizer.step()
        return [torch.stack(part) for part in zip(*rows, strict=True)]


def close(actual, expected, tolerance=1e-11):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def test_time_zero_is_the_start():
    problem = Problem()
    for result in (problem.dynamics().flow(0), problem.dynamics().descent(0, lr=0.1, momentum=0.9)):
        assert torch.equal(result.outputs, problem.start) and torch.equal(result.test_outputs, problem.test_start)
        close(result.losses, (problem.start - problem.targets).square().mean())
        close(result.test_losses, (problem.test_start - problem.test_targets).square().mean())


def test_infinite_time_is_the_solve():
    problem = Problem()
    result = problem.dynamics().flow(math.inf)
    close(result.outputs, problem.targets)
    matrix = problem.jacobian.flatten(0, 1) @ problem.jacobian.flatten(0, 1).T
    coefficients = torch.linalg.solve(matrix, (problem.targets - problem.start).flatten())
    moved = problem.test_jacobian.flatten(0, 1) @ problem.jacobian.flatten(0, 1).T @ coefficients
    close(result.test_outputs, problem.test_start + moved.reshape(M, K))


def test_flow_is_the_matrix_exponential():
    problem = Problem()
    matrix = problem.jacobian.flatten(0, 1) @ problem.jacobian.flatten(0, 1).T
    for time in (0.01, 0.3, 7.0):
        decay = torch.linalg.matrix_exp(-2 / (N * K) * matrix * time)
        residual = decay @ (problem.start - problem.targets).flatten()
        close(problem.dynamics().flow(time).outputs, problem.targets + residual.reshape(N, K))


def test_flow_goes_on_from_where_it_is():
    problem = Problem()
    first = problem.dynamics().flow([0.2, 0.2 + 0.5])
    went_on = problem.dynamics(start=first.outputs[0], test_start=first.test_outputs[0]).flow(0.5)
    both = problem.dynamics().flow(0.7)
    close(went_on.outputs, both.outputs)
    close(went_on.test_outputs, both.test_outputs)
    close(first.test_losses[1], both.test_losses)


@pytest.mark.parametrize("momentum", (0.0, 0.5, 0.9))
@pytest.mark.parametrize("share", (0.01, 0.5, 0.97))
def test_descent_is_what_sgd_does(momentum, share):
    problem = Problem()
    dynamics = problem.dynamics()
    lr = share * dynamics.largest_stable_step(momentum)
    outputs, test_outputs = problem.trained(60, lr, momentum)
    result = dynamics.descent(range(61), lr, momentum)
    close(result.outputs, outputs)
    close(result.test_outputs, test_outputs)
    close(result.losses, (outputs - problem.targets).square().mean((1, 2)))
    close(result.test_losses, (test_outputs - problem.test_targets).square().mean((1, 2)))


@pytest.mark.parametrize("momentum", (0.0, 0.9))
def test_the_largest_stable_step_is_that(momentum):
    dynamics = Problem().dynamics()
    edge = dynamics.largest_stable_step(momentum)
    stable, unstable = (dynamics.descent([0, 20_000], lr, momentum).losses for lr in (0.999 * edge, 1.001 * edge))
    assert stable[1] < 1e-3 * stable[0] and unstable[1] > 1e3 * unstable[0]


@pytest.mark.parametrize("momentum", (0.0, 0.8))
def test_descent_goes_to_flow_like_the_step(momentum):
    dynamics = Problem().dynamics()
    flow = dynamics.flow(1.0)
    errors = []
    for steps in (1000, 10_000, 100_000):
        result = dynamics.descent(steps, lr=(1 - momentum) / steps, momentum=momentum)
        errors.append((result.test_outputs - flow.test_outputs).norm().item())
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 10, rtol=0.05)


def exact_time(a, momentum, steps):
    """g / lr in 80 digits, from the power of the recurrence's matrix."""
    with mpmath.workdps(80):
        a, mu = mpmath.mpf(a), mpmath.mpf(momentum)
        step = mpmath.matrix([[1 - a, mu, 1], [-a, mu, 1], [0, 0, 1]])
        return float((step ** int(steps))[0, 2])


MU = 0.81  # critically damped at (1 - 0.9)^2
DAMPING = [1e-15, 1e-9, 1e-4, 0.005, 0.01 - 1e-9, 0.01, 0.01 + 1e-13, 0.01 + 1e-6, 0.5, 1.0, 3.0, 3.6]


@pytest.mark.parametrize("momentum", (0.0, MU, 0.999))
@pytest.mark.parametrize("steps", (1, 2, 37, 1000, 10**6 + 1, 10**12))
def test_momentum_in_every_damping(momentum, steps):
    stable = [a for a in DAMPING if a < 2 * (1 + momentum)]
    rates = torch.tensor(stable, dtype=torch.float64)
    actual = descent_time(rates, torch.tensor([steps], dtype=torch.float64), 1.0, momentum)[0]
    expected = [exact_time(a, momentum, steps) for a in stable]
    np.testing.assert_allclose(actual, expected, rtol=1e-9)


def test_flow_time_at_every_rate():
    rates = [0.0, 1e-300, 1e-17, 1e-9, 0.3, 1e9]
    times = [0.0, 1e-9, 1.0, 1e12]
    actual = flow_time(torch.tensor(rates, dtype=torch.float64), torch.tensor(times, dtype=torch.float64))
    with mpmath.workdps(400):
        expected = [
            [float((1 - mpmath.exp(-mpmath.mpf(r) * t)) / mpmath.mpf(r)) if r else t for r in rates] for t in times
        ]
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


def ill_conditioned():
    """Two inputs are equal, though their targets differ, and singular values fall to 1e-12 of the largest."""
    torch.manual_seed(1)
    left, _ = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(P, 12, dtype=torch.float64))
    jacobian = (left * torch.logspace(0, -12, 12, dtype=torch.float64) @ right.T).reshape(6, K, P)
    return Problem(torch.cat([jacobian, jacobian[:1]]))


def test_tiny_and_zero_eigenvalues_follow_training():
    problem = ill_conditioned()
    dynamics = problem.dynamics()
    lr = 0.9 * dynamics.largest_stable_step(0.9)
    outputs, test_outputs = problem.trained(300, lr, 0.9)
    result = dynamics.descent(range(301), lr, 0.9)
    close(result.outputs, outputs, 1e-10)
    close(result.test_outputs, test_outputs, 1e-10)
    assert dynamics.clipped >= 2 and 0 < dynamics.clipped_residual < 1
    assert (dynamics.eigenvalues == 0).sum() == dynamics.clipped


def test_long_times_end_at_the_least_squares_solution():
    # Rank 4 of 14: what is clipped is exactly zero but for rounding, and must not come back multiplied by the time.
    generator = torch.Generator().manual_seed(2)
    left, right = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((14, 4), (4, P)))
    problem = Problem((left @ right).reshape(7, K, P))
    dynamics = problem.dynamics()
    assert dynamics.clipped == 10
    theta = torch.linalg.pinv(problem.jacobian.flatten(0, 1), rtol=1e-10) @ (problem.targets - problem.start).flatten()
    expected = problem.test_start + problem.test_jacobian @ theta
    lr = 0.5 * dynamics.largest_stable_step(0.9)
    for result in (dynamics.flow([1e6, 1e12, 1e300, math.inf]), dynamics.descent([10**6, 10**12, 10**15], lr, 0.9)):
        assert result.losses.isfinite().all()
        close(result.test_outputs, expected.expand_as(result.test_outputs), 1e-7)
        close(result.outputs, (problem.start + problem.jacobian @ theta).expand_as(result.outputs), 1e-9)


@pytest.mark.parametrize("single", (("kernel", "test_kernel"), ("test_kernel",)))
def test_long_times_on_kernels_in_float32(single):
    """A direction without data, which the rounding of the test kernel's float32 must not fill."""
    problem = Problem(torch.cat([Problem().jacobian] * 2))
    exact = problem.dynamics()
    rounded = problem.dynamics(**{name: getattr(problem, name).float() for name in single})
    assert exact.clipped == N * K
    rates = 2 / problem.targets.numel() * exact.eigenvalues[-1].item()
    for time in (1e5, 1e7, math.inf):
        close(rounded.flow(time / rates).test_outputs, exact.flow(time / rates).test_outputs, 1e-3)


def test_times_of_any_shape_and_labels_as_targets():
    problem = Problem()
    times = torch.rand(2, 3, dtype=torch.float64)
    result = problem.dynamics().flow(times)
    assert result.outputs.shape == (2, 3, N, K) and result.test_losses.shape == (2, 3)
    close(result.test_outputs[1, 2], problem.dynamics().flow(times[1, 2]).test_outputs)
    labels = torch.tensor([0, 1, 1, 0, 1])
    result = LinearDynamics(problem.kernel, labels).flow(math.inf)
    close(result.outputs, torch.stack([1.0 - labels, labels.double()], dim=1))
    assert result.test_outputs is None and result.test_losses is None
    assert LinearDynamics(torch.zeros(2, 2, 1, 1), torch.ones(2, 1)).largest_stable_step() == math.inf


def test_refusals():
    problem = Problem()
    with pytest.raises(ValueError, match='kind="full"'):
        LinearDynamics(problem.kernel[:, :, 0, 0], problem.targets)
    with pytest.raises(ValueError, match="not positive semi-definite"):
        LinearDynamics(-problem.kernel, problem.targets)
    with pytest.raises(ValueError, match=r"targets has shape .* give one row an input, \(5, 2\)"):
        LinearDynamics(problem.kernel, problem.targets[:, :1])
    with pytest.raises(ValueError, match="labels from 0 to 2 for 2 outputs"):
        LinearDynamics(problem.kernel, torch.tensor([0, 1, 2, 0, 1]))
    with pytest.raises(ValueError, match="test_kernel has shape"):
        problem.dynamics(test_kernel=problem.test_kernel.transpose(0, 1))
    with pytest.raises(ValueError, match="need a test_kernel"):
        LinearDynamics(problem.kernel, problem.targets, test_targets=problem.test_targets)
    with pytest.raises(ValueError, match="times must be in"):
        problem.dynamics().flow([1.0, -1.0])
    with pytest.raises(ValueError, match="whole numbers"):
        problem.dynamics().descent(1.5, 0.1)
    with pytest.raises(ValueError, match=r"momentum=1\.0"):
        problem.dynamics().descent(1, 0.1, 1.0)
