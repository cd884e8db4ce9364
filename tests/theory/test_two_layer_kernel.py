"""The two-layer kernel, its flow and its bounds against independent computations, and against wrong constants."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lazytorch as lt
from lazytorch.theory import two_layer_kernel as theory


def problem(n=4, d=3, m=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.randn(*size, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(m, d), torch.sign(draw(m)), F.normalize(draw(n, d)), torch.sign(draw(n))


def test_the_limit_is_the_mean_over_weights():
    w, _, x, _ = problem(m=400_000)
    limit, found = theory.limit_kernel(x), theory.hidden_kernel(w, x)
    error = 5 / math.sqrt(len(w))
    assert (found - limit).abs().max() < error
    cosine = x @ x.T
    wrong = cosine * cosine.clamp(-1, 1).arccos() / (2 * math.pi)  # arccos for pi - arccos
    assert (wrong - limit).abs().max() > 10 * error
    torch.testing.assert_close(limit.diagonal(), torch.full((4,), 0.5, dtype=torch.float64))


def test_the_kernel_is_the_tangent_kernel_of_the_hidden_weights():
    w, a, x, _ = problem()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(w)

        def forward(self, x):
            return (torch.relu(x @ self.w.T) @ a / math.sqrt(len(a)))[:, None]

    torch.testing.assert_close(theory.hidden_kernel(w, x), lt.empirical_ntk(Net(), x)[:, :, 0, 0])


def test_the_flow_without_flips_is_the_exponential():
    """Weights far from every kink: H stays, r(t) = exp(-H t) r(0), and the weights move by its integral."""
    w, a, x, y = problem(n=3, m=20)
    w, y = 1000 * w, 10 * y + torch.relu(1000 * x @ w.T) @ a / math.sqrt(20)
    times = torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64)
    flow, kernel = theory.two_layer_flow(w, a, x, y, times), theory.hidden_kernel(w, x)
    start = torch.relu(x @ w.T) @ a / math.sqrt(20) - y
    for index, time in enumerate(times):
        residual = torch.matrix_exp(-kernel * time) @ start
        assert flow.residuals[index].item() == pytest.approx(residual.norm().item(), rel=1e-5)
        integral = torch.linalg.lstsq(kernel, start - residual).solution  # of the residual, over [0, t]
        moved = ((x @ w.T > 0).T * integral) @ x / math.sqrt(20)
        assert flow.displacements[index].item() == pytest.approx(moved.norm(dim=1).max().item(), rel=1e-4, abs=1e-9)
    assert not flow.flipped.any() and torch.equal(flow.kernels[0], flow.kernels[-1])


def test_halving_the_step_changes_little(monkeypatch):
    w, a, x, y = problem(m=200)
    times = torch.linspace(0, 20, 5, dtype=torch.float64)
    flow = theory.two_layer_flow(w, a, x, y, times)
    assert flow.flipped[-1] > 0.01
    monkeypatch.setattr(theory, "STEP", theory.STEP / 4)
    finer = theory.two_layer_flow(w, a, x, y, times)
    torch.testing.assert_close(flow.displacements, finer.displacements, rtol=5e-3, atol=0)
    torch.testing.assert_close(flow.residuals, finer.residuals, rtol=5e-2, atol=0)


@pytest.fixture(scope="module")
def orthogonal():
    """Orthogonal inputs, where every eigenvalue of H* is 1/2: the flow, lambda_0 and |u(0) - y|."""
    w, a, _, y = problem(n=2, d=2, m=2000)
    x = torch.eye(2, dtype=torch.float64)
    flow = theory.two_layer_flow(w, a, x, y, torch.linspace(0, 10, 21, dtype=torch.float64))
    assert torch.linalg.eigvalsh(flow.kernels).min() >= 0.25
    return flow, 0.5, flow.residuals[0].item()


def test_decay_and_displacement_are_within_their_bounds_and_wrong_constants_are_not(orthogonal):
    flow, lambda_0, residual = orthogonal
    share = (flow.residuals / residual).square()
    assert (share <= theory.decay_bound(flow.times, lambda_0)).all()
    assert not (share <= theory.decay_bound(flow.times, 3 * lambda_0)).all()
    moved, bound = flow.displacements.max().item(), theory.displacement_bound(2, 2000, residual, lambda_0)
    assert bound == pytest.approx(4 * math.sqrt(2 / 2000) * residual) and moved <= bound
    assert not moved <= bound / 8
    assert not moved <= bound * math.sqrt(2 / 2000)  # n/m for its root


def test_the_lemma_with_the_norm_squared_is_wrong():
    """|w_k(t) - w_k(0)|^2 <= R' fails where R' is large and nothing flips; the lemma holds."""
    w, a, x, y = problem(n=2, d=2, m=64)
    w, y = 1e4 * w, 1e3 * y + torch.relu(1e4 * x @ w.T) @ a / 8
    flow = theory.two_layer_flow(w, a, x, y, torch.tensor([0.0, 50.0], dtype=torch.float64))
    lambda_0 = 2 * torch.linalg.eigvalsh(flow.kernels)[:, 0].min().item()  # the lemma's
    radius = theory.displacement_bound(2, 64, flow.residuals[0].item(), lambda_0)
    moved = flow.displacements.max().item()
    assert moved <= radius and not moved**2 <= radius


def test_flips_are_bounded_in_expectation_by_what_is_no_larger_than_need_be():
    w, _, x, _ = problem(n=5, m=200_000)
    for radius in (0.01, 0.1, 0.5):
        could = ((x @ w.T).abs() <= radius).double().mean().item()
        assert could == pytest.approx(math.erf(radius / math.sqrt(2)), rel=0.05)
        assert could <= theory.flip_bound(radius) * 1.05
    assert theory.flip_bound(0.01) == pytest.approx(
        math.erf(0.01 / math.sqrt(2)), rel=1e-4
    )  # half of it would be wrong


def test_the_width_that_suffices():
    """There R' is R = sqrt(2 pi) delta lambda_0 / (16 n^2)."""
    m = theory.sufficient_width(10, 3.0, 0.2, delta=0.05)
    radius = math.sqrt(2 * math.pi) * 0.05 * 0.2 / 1600
    assert 2 * math.sqrt(10 / m) * 3.0 / 0.2 == pytest.approx(radius)


def test_refusals():
    w, a, x, y = problem()
    times = torch.tensor([0.0, 1.0])
    for arguments, message in (((w, a, 2 * x, y, times), "norm 1"), ((w, 2 * a, x, y, times), r"must be \+-1")):
        with pytest.raises(ValueError, match=message):
            theory.two_layer_flow(*arguments)
    with pytest.raises(ValueError, match="norm 1"):
        theory.limit_kernel(2 * x)
