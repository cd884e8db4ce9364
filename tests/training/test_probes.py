"""Probes against definitions written out, and what theory says of them."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from lazytorch.training.activations import zero_preactivations
from torch import nn

import lazytorch as lt
from lazytorch.training import ActivationStability, KernelDrift, LinearizationError


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.relu = nn.Linear(5, 5), nn.ReLU()

    def forward(self, x):
        return F.relu(self.relu(self.linear(x)) - self.relu(-x), inplace=True)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), Block(), nn.Linear(5, 2)).double()


def moved(net, scale):
    torch.manual_seed(1)
    return {name: p.detach() + scale * torch.randn_like(p) for name, p in net.named_parameters()}


def test_activation_stability_counts_units_call_by_call():
    net = network()
    x = torch.randn(300, 4, dtype=torch.float64)
    start, end = moved(net, 0.0), moved(net, 0.3)
    result = lt.activation_stability(net, start, end, x)

    def preactivations(w):
        first = F.linear(x, w["0.weight"], w["0.bias"])
        hidden = first.relu()
        second = F.linear(hidden, w["2.linear.weight"], w["2.linear.bias"])
        return {
            "1": first,
            "2.relu": second,
            "2.relu#2": -hidden,
            "2.relu#3": second.relu() - (-hidden).relu(),
        }

    left, right = preactivations(start), preactivations(end)
    expected = {name: ((left[name] > 0) == (right[name] > 0)).double().mean().item() for name in left}
    assert result["layers"] == pytest.approx(expected)
    assert result["overall"] == pytest.approx(sum(expected.values()) / 4)
    assert not any(m._forward_hooks for m in net.modules())


def test_no_relu_no_stability():
    net = nn.Linear(3, 2)
    weights = {name: p.detach() for name, p in net.named_parameters()}
    result = lt.activation_stability(net, weights, weights, torch.randn(4, 3))
    assert math.isnan(result["overall"]) and result["layers"] == {}


def test_zero_preactivations_are_counted():
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU())
    assert zero_preactivations(net, torch.tensor([[0.0, 0.0], [1.0, 2.0]])) == 0.5


def scaled(net, alpha):
    model = lt.CenteredModel(net, alpha)
    torch.manual_seed(1)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    return model


def test_laziness_grows_with_alpha():
    """Drift and linearization error are O(1 / alpha), on a smooth network."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(5, 4)
    measured = []
    for alpha in (1e3, 1e4, 1e5, 1e6, math.inf):
        row = {}
        for probe in (KernelDrift(x), LinearizationError(x)):
            row |= probe(scaled(net, alpha))
        measured.append(row)
    *finite, limit = measured
    assert limit == {"ntk_drift": 0, "kernel_distance": 0, "linearization_error": 0}
    for coarse, fine in itertools.pairwise(finite):
        assert coarse["ntk_drift"] / fine["ntk_drift"] == pytest.approx(10, rel=0.02)
        assert coarse["linearization_error"] / fine["linearization_error"] == pytest.approx(10, rel=0.02)
        assert coarse["kernel_distance"] / fine["kernel_distance"] == pytest.approx(100, rel=0.1)


def test_probes_compare_with_w0_even_when_theta_has_moved_before():
    model = scaled(network().float(), 1.0)
    x = torch.randn(4, 4)
    drift, stability = KernelDrift(x), ActivationStability(x)
    assert drift(model)["ntk_drift"] > 0 and stability(model)["activation_stability"] < 1


def test_batch_norm_is_lazy_at_infinite_alpha_too():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    x = torch.randn(6, 1, 4, 4)
    model = scaled(net, math.inf).train()
    drift, stability = KernelDrift(x), ActivationStability(x)
    drift(model)
    model(x)  # the running statistics of w_0 move
    assert drift(model)["ntk_drift"] == 0 and stability(model)["activation_stability"] == 1
