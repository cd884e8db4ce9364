import math

import pytest
import torch
from torch import nn

from lazytorch.models import mlp, resnet18, two_layer, vgg11

NETS = {
    "vgg11": lambda gain: vgg11(width=0.5, gain=gain),
    "resnet18": lambda gain: resnet18(width=0.5, gain=gain),
    "mlp": lambda gain: mlp(gain=gain),
    "two_layer": lambda gain: two_layer(gain=gain),
}


@pytest.mark.parametrize("gain", [1.0, 1.3])
@pytest.mark.parametrize("name", NETS)
def test_weights_are_xavier_normal_and_biases_zero(name, gain):
    torch.manual_seed(0)
    layers = [m for m in NETS[name](gain).modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    for layer in layers:
        w = layer.weight
        fan_in, fan_out = w[0].numel(), w.shape[0] * w[0, 0].numel()
        z = w / (gain * math.sqrt(2 / (fan_in + fan_out)))
        assert abs(z.mean()) < 5 / math.sqrt(z.numel())
        assert abs(z.var() - 1) < 5 * math.sqrt(2 / z.numel())
        assert abs((z**4).mean() - 3) < 5 * math.sqrt(96 / z.numel())
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("name", NETS)
def test_gain_multiplies_the_same_draws(name):
    torch.manual_seed(3)
    plain = NETS[name](1.0)
    torch.manual_seed(3)
    scaled = NETS[name](1.5)
    for p, q in zip(plain.parameters(), scaled.parameters(), strict=True):
        torch.testing.assert_close(1.5 * p, q)
