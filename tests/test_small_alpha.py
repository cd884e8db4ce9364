"""For alpha <= 1 operators run at both weights: accuracy far from w_0, where pairs cancel, and what needs no rule."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import lazytorch as lt

from .functions import Function


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


def softplus():
    return nn.Sequential(nn.Linear(20, 64), nn.Softplus(), nn.Linear(64, 64), nn.Softplus(), nn.Linear(64, 10))


def convolutions():
    layers = (nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU())
    return nn.Sequential(nn.Unflatten(1, (3, 12, 12)), *layers, nn.Flatten(), nn.Linear(512, 10))


def layer_norm():
    return nn.Sequential(nn.Linear(20, 32), Residual(32), Residual(32), nn.LayerNorm(32), nn.Linear(32, 10))


def batch_norm():
    layers = (nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.BatchNorm2d(8), nn.SiLU())
    return nn.Sequential(nn.Unflatten(1, (3, 8, 8)), *layers, nn.Flatten(), nn.Linear(128, 10))


NETWORKS = {softplus: 20, convolutions: 432, layer_norm: 20, batch_norm: 192}


def subtracted(net, theta, alpha, x):
    """alpha (f(w) - f(w_0)), each in training mode by a network of its own."""
    start = {name: p.detach() for name, p in net.named_parameters()}
    end = {name: t + theta[name] / alpha for name, t in start.items()}
    at_w_0, at_w = (functional_call(copy.deepcopy(net), w, (x,)) for w in (start, end))
    return alpha * (at_w - at_w_0)


def trained(net, alpha, lr, x, labels):
    """Theta after ten steps of SGD in the network's own type."""
    theta = {name: torch.zeros_like(p, requires_grad=True) for name, p in net.named_parameters()}
    optimizer = torch.optim.SGD(theta.values(), lr=lr, momentum=0.9)
    for _ in range(10):
        optimizer.zero_grad()
        outputs = subtracted(net, theta, alpha, x)
        (outputs - F.one_hot(labels, 10)).square().sum(1).mean().backward()
        optimizer.step()
    return {name: t.detach() for name, t in theta.items()}


@pytest.mark.parametrize(
    ("network", "alpha", "lr"),
    [
        *((softplus, 1.0, 0.25), (convolutions, 1.0, 0.25), (layer_norm, 1.0, 0.1), (batch_norm, 1.0, 0.1)),
        *((softplus, 1e-3, 5e-3), (convolutions, 1e-3, 1e-5), (layer_norm, 1e-3, 1e-5), (batch_norm, 1e-3, 1e-5)),
    ],
)
def test_float32_errs_like_two_passes_far_from_the_start(network, alpha, lr):
    """At steps at which units die (pairs err by 50 to 250 times as much), and at smaller ones."""
    torch.manual_seed(0)
    net, x, labels = network(), torch.randn(16, NETWORKS[network]), torch.arange(16) % 10
    theta = {name: t.float() for name, t in trained(copy.deepcopy(net).double(), alpha, lr, x.double(), labels).items()}
    model = lt.CenteredModel(net, alpha)
    with torch.no_grad():
        for name, t in model.theta.items():
            t.copy_(theta[name])
        exact = subtracted(copy.deepcopy(net).double(), {k: t.double() for k, t in theta.items()}, alpha, x.double())
        error = (model(x) - exact).norm()
        assert error <= 3 * (subtracted(net, theta, alpha, x) - exact).norm()
        assert error <= 1e-5 * exact.norm()


def in_row(x, w):
    y = torch.zeros(3, 4, dtype=torch.complex128)
    y[:, 1] = torch.complex(w[:, 0], x[:, 0])
    return torch.view_as_real(y * w)


@pytest.mark.parametrize("alpha", (1e-3, 1.0))
@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: torch.lgamma(x * w),  # without a rule
        lambda x, w: torch.linalg.svdvals(x * w),
        lambda x, w: w * w.sum().item(),
        lambda x, w: w * w.argmax(1, keepdim=True) + (w > x),
        lambda x, w: (x * w).masked_fill(torch.eye(3, 4).bool(), -torch.inf),
        lambda x, w: torch.where(w > 0, x * w, -torch.inf).logsumexp(1),
        in_row,
    ],
)
def test_no_operator_needs_a_rule(function, alpha):
    torch.manual_seed(0)
    net, x = Function(function, 3, 4).double(), torch.randn(3, 4, dtype=torch.float64)
    model = lt.CenteredModel(net, alpha)
    nn.init.normal_(model.theta["weight"], std=alpha)
    direct = lt.CenteredModel(net, alpha, difference="direct")
    direct.load_state_dict(model.state_dict())
    outputs, expected = model(x), direct(x).nan_to_num(0)  # of infinities that are equal
    torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-12 * alpha)
    finite = outputs[expected != 0].sum(), expected[expected != 0].sum()
    gradients = [torch.autograd.grad(f, list(m.theta.values())) for f, m in zip(finite, (model, direct), strict=True)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)


def test_a_random_operator_needs_one():
    net = Function(lambda x, w: w[torch.multinomial(w.softmax(1), 1)], 3, 4)
    with pytest.raises(lt.UnsupportedOperator, match="aten.multinomial"):
        lt.CenteredModel(net, 1.0)(torch.randn(3, 4))
