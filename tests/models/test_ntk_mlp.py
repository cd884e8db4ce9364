import pytest
import torch

import lazytorch as lt
from lazytorch.models import ntk_mlp


def test_it_is_its_formula():
    net = ntk_mlp(width=5, depth=2, classes=4, channels=2, size=3, activation="tanh", gain=1.5).double()
    x = torch.randn(7, 2, 3, 3, dtype=torch.float64)
    first, second, last = (layer for layer in net if hasattr(layer, "weight"))
    h = torch.tanh(1.5 / 18**0.5 * x.flatten(1) @ first.weight.T + first.bias)
    h = torch.tanh(1.5 / 5**0.5 * h @ second.weight.T + second.bias)
    torch.testing.assert_close(net(x), 1.5 / 5**0.5 * h @ last.weight.T + last.bias)
    assert not any(layer.bias.any() for layer in (first, second, last))


def test_weights_are_standard_normal_and_the_kernel_does_not_grow_with_the_width():
    torch.manual_seed(0)
    x = torch.randn(3, 6)
    nets = [ntk_mlp(width, 2, 2, 6, 1) for width in (500, 2000)]
    assert nets[1][3].weight.std().item() == pytest.approx(1, rel=0.01)
    traces = [lt.empirical_ntk(net, x, kind="trace").diagonal().sum().item() for net in nets]
    assert traces[0] == pytest.approx(traces[1], rel=0.2)


def test_unknown_activation():
    with pytest.raises(ValueError, match="unknown activation 'swosh': choose one of relu, tanh"):
        ntk_mlp(activation="swosh")
