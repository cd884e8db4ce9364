"""The infinitely wide limit: Monte Carlo of the expectations, and wide networks that converge to it."""

import math

import numpy as np
import pytest
import torch

import lazytorch as lt
from lazytorch.kernels import mlp_kernel


def inputs(n=6, size=5):
    return torch.randn(n, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def deviation(build, x, limit, seeds):
    """Root mean square over seeds of the relative distance of the full kernel from the limit times the identity."""
    squares = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        kernel = lt.empirical_ntk(build().double(), x)
        expected = limit[:, :, None, None] * torch.eye(kernel.shape[-1], dtype=torch.float64)
        squares.append(((kernel - expected).norm() / expected.norm()).item() ** 2)
    return math.sqrt(np.mean(squares))


@pytest.mark.parametrize(("depth", "gain"), [pytest.param(1, 1.3, marks=pytest.mark.slow), (3, 1.0)])
def test_wide_networks_converge_like_width_to_the_minus_half(depth, gain):
    x, widths = inputs(), [64, 128, 256, 512, 1024]
    limit = mlp_kernel(x, depth=depth, gain=gain)
    errors = [
        deviation(lambda w=w: lt.models.mlp(w, depth, 2, channels=5, size=1, gain=gain), x, limit, seeds=16)
        for w in widths
    ]
    slope, _ = np.polyfit(np.log(widths), np.log(errors), 1)
    assert -0.6 < slope < -0.4
    assert errors[-1] < 0.15


def test_two_layer_networks_and_other_inputs():
    x1, x2 = inputs(), inputs(9)[6:]
    torch.manual_seed(0)
    net = lt.models.two_layer(200_000, classes=1, channels=5, size=1)
    kernel = lt.empirical_ntk(net.double(), x1, x2)[..., 0, 0]
    torch.testing.assert_close(mlp_kernel(x1, x2, depth=1, bias=False), kernel, rtol=0.02, atol=0.02)
    everything = mlp_kernel(torch.cat([x1, x2]))
    torch.testing.assert_close(mlp_kernel(x1, x2), everything[:6, 6:])


def test_two_layer_is_the_arc_cosine_kernel():
    # Unit inputs at the angle t: the outer layer gives 2 E[relu relu], the inner one 2 x.x' E[relu' relu'].
    t = torch.tensor(0.7, dtype=torch.float64)
    x = torch.stack([torch.tensor([1.0, 0.0], dtype=torch.float64), torch.stack([t.cos(), t.sin()])])
    outer = 2 * (t.sin() + (math.pi - t) * t.cos()) / (2 * math.pi)
    inner = 2 * t.cos() * (math.pi - t) / (2 * math.pi)
    kernel = mlp_kernel(x, depth=1, bias=False)
    torch.testing.assert_close(kernel[0, 1], outer + inner)
    torch.testing.assert_close(kernel.diagonal(), torch.full((2,), 2.0, dtype=torch.float64))


def test_zero_inputs_and_linear_networks():
    x = torch.cat([inputs(), torch.zeros(1, 5, dtype=torch.float64)])
    assert mlp_kernel(x).isfinite().all()
    torch.testing.assert_close(mlp_kernel(x, depth=0), x @ x.T + 1)
    with pytest.raises(ValueError, match="depth must be 0 or more"):
        mlp_kernel(x, depth=-1)


@pytest.mark.parametrize(
    "x2, message",
    (
        (torch.ones(2, 4).double(), "5 numbers.*4 of"),
        (torch.ones(2, 5), "torch.float64.*torch.float32.*alike"),
        (torch.ones(5).double(), r"\(5,\): give a tensor \(n, ...\)"),
        (torch.ones(2, 5).long(), "torch.int64"),
        ([1.0], "inputs are list"),
    ),
)
def test_unsuitable_inputs(x2, message):
    with pytest.raises(ValueError, match=message):
        mlp_kernel(inputs(), x2)
