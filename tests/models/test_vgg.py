import pytest
import torch
from torch import nn

from lazytorch.models import vgg11


def shapes(net, kind):
    return [tuple(module.weight.shape) for module in net.modules() if isinstance(module, kind)]


def test_layers_are_the_papers():
    net = vgg11()
    sizes = [64, 128, 256, 256, 512, 512, 512, 512]
    assert shapes(net, nn.Conv2d) == [(out, into, 3, 3) for into, out in zip([3, *sizes], sizes, strict=False)]
    assert shapes(net, nn.Linear) == [(10, 512)]
    kinds = "".join({nn.Conv2d: "c", nn.ReLU: "r", nn.MaxPool2d: "p"}.get(type(module), "") for module in net.modules())
    assert kinds == "crpcrpcrcrpcrcrpcrcrp"
    assert not any(module.inplace for module in net.modules() if isinstance(module, nn.ReLU))


@pytest.mark.parametrize(("width", "first", "last"), [(0.5, 32, 256), (0.3, 19, 154), (0.001, 1, 1)])
def test_width_scales_the_channels(width, first, last):
    net = vgg11(width=width)
    assert net.features.conv1_1.out_channels == first and net.linear.in_features == last


@pytest.mark.parametrize("side", [32, 63])
def test_outputs(side):
    net = vgg11(width=0.05, classes=7, channels=2)
    assert net(torch.randn(3, 2, side, side)).shape == (3, 7)


@pytest.mark.parametrize("side", [8, 31, 64])
def test_other_sizes_are_refused(side):
    net = vgg11(width=0.05)
    with pytest.raises(ValueError, match=r"VGG-11 takes images of 32 to 63 .*data\.size=32"):
        net(torch.randn(2, 3, side, side))


@pytest.mark.parametrize("width", [0, -1.0, float("nan")])
def test_width_must_be_positive(width):
    with pytest.raises(ValueError, match="not a positive number"):
        vgg11(width=width)
