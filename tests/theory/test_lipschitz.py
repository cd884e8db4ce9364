"""The Lipschitz constant of the Jacobian: proved and nowhere exceeded, estimated from below, refused at kinks."""

import math

import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.theory import TwoLayerSmooth
from lazytorch.theory.lipschitz import KINKED, check_smooth, estimated_lipschitz
from lazytorch.theory.two_layer_smooth import SMOOTH


def jacobian(net, x, weight):
    """By torch.autograd, at the given weight: (n, P)."""
    return torch.autograd.functional.jacobian(
        lambda w: torch.func.functional_call(net, {"weight": w}, (x,))[:, 0], weight
    ).flatten(1)


def largest_ratio(net, x, size):
    """The largest |J_w - J_v| / |w - v| of random pairs."""
    ratios = []
    for _ in range(200):
        w = torch.randn_like(net.weight)
        v = w + size * torch.randn_like(w)
        change = jacobian(net, x, w.detach()) - jacobian(net, x, v.detach())
        ratios.append((torch.linalg.matrix_norm(change, 2) / (w - v).norm()).item())
    return max(ratios)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_curvatures_are_the_largest_second_derivatives(name):
    z = torch.linspace(-6, 6, 20001, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(SMOOTH[name].function(z).sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), z)
    assert SMOOTH[name].curvature == pytest.approx(second.abs().max().item(), rel=1e-6)


@pytest.mark.parametrize("normalised", (True, False))
def test_no_pair_of_weights_exceeds_beta(normalised):
    torch.manual_seed(0)
    net, x = TwoLayerSmooth(3, 7, "tanh", normalised).double(), torch.randn(4, 3, dtype=torch.float64)
    beta = net.jacobian_lipschitz(x)
    assert largest_ratio(net, x, 0.1) <= beta
    norms = x.norm(dim=1)
    printed = min(norms.pow(4).sum().sqrt(), torch.linalg.matrix_norm(x, 2) * norms.max()).item()
    assert beta <= net.scale * SMOOTH["tanh"].curvature * printed * (1 + 1e-12)
    assert net.scale == (7**-0.5 if normalised else 1)


def test_half_of_beta_is_exceeded():
    torch.manual_seed(1)
    net, x = TwoLayerSmooth(1, 1, "sin").double(), torch.full((1, 1), 2.0, dtype=torch.float64)
    assert net.jacobian_lipschitz(x) == pytest.approx(4.0)  # c = 1, sup|sin''| = 1, |x|^2 = 4
    assert 0.99 * net.jacobian_lipschitz(x) < largest_ratio(net, x, 0.01) <= net.jacobian_lipschitz(x)


def normalised():
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 1))


@pytest.mark.parametrize("make", (lambda: lt.models.mlp(4, 2, 1, 3, 1, "tanh"), normalised))
def test_the_estimate_is_the_norm_of_the_hessian_of_a_single_output(make):
    torch.manual_seed(2)
    net, x = make().double(), torch.randn(1, 3, dtype=torch.float64)
    names, start = zip(*net.named_parameters(), strict=True)
    sizes = [p.numel() for p in start]

    def output(w):
        parts = {n: part.view_as(p) for n, part, p in zip(names, w.split(sizes), start, strict=True)}
        return torch.func.functional_call(net, parts, (x,)).squeeze()

    w_0 = nn.utils.parameters_to_vector(start).detach()
    norm = torch.linalg.eigvalsh(torch.autograd.functional.hessian(output, w_0)).abs().max().item()
    assert estimated_lipschitz(net, (x,)) == pytest.approx(norm, rel=1e-3)


def test_the_estimate_is_below_what_is_proved_and_zero_of_a_linear_module():
    torch.manual_seed(3)
    net, x = TwoLayerSmooth(3, 5).double(), torch.randn(4, 3, dtype=torch.float64)
    assert 0.1 * net.jacobian_lipschitz(x) < estimated_lipschitz(net, (x,)) <= net.jacobian_lipschitz(x)
    assert estimated_lipschitz(nn.Linear(3, 2).double(), (x,)) == 0


def test_kinks_are_refused_unless_they_do_not_depend_on_the_weights():
    x = torch.randn(2, 1, 8)
    pooled = nn.Sequential(nn.Conv1d(1, 2, 3), nn.AdaptiveMaxPool1d(1), nn.Flatten())
    for net in (nn.Sequential(nn.Linear(8, 2), nn.ReLU()), nn.Sequential(nn.Linear(8, 2), nn.Hardtanh()), pooled):
        with pytest.raises(ValueError, match="is not smooth: it calls aten"):
            check_smooth(net, (x,))
    check_smooth(nn.Sequential(nn.ReLU(), nn.Linear(8, 2), nn.GELU()), (x,))
    assert all(hasattr(torch.ops.aten, name) for name in KINKED)


def test_an_activation_without_a_known_curvature_is_refused():
    with pytest.raises(ValueError, match="choose one of tanh, sigmoid"):
        TwoLayerSmooth(3, 5, "relu")
    signs = TwoLayerSmooth(3, 1000).signs
    assert set(signs.tolist()) == {-1.0, 1.0} and abs(signs.sum()) < 5 * math.sqrt(1000)
