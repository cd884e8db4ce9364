import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lazytorch.models import resnet18


def reference(net, x):
    """The network read from its parameters alone."""
    p = dict(net.named_parameters())

    def conv(name, x, stride=1):
        weight = p[f"{name}.weight"]
        return F.conv2d(x, weight, p[f"{name}.bias"], stride, padding=weight.shape[-1] // 2)

    x = conv("features.stem", x).relu()
    for stage, stride in enumerate((1, 2, 2, 2), start=1):
        for block in range(2):
            name, step = f"features.stage{stage}.{block}", stride if block == 0 else 1
            shortcut = conv(f"{name}.shortcut", x, step) if f"{name}.shortcut.weight" in p else x
            x = (conv(f"{name}.conv2", conv(f"{name}.conv1", x, step).relu()) + shortcut).relu()
    x = x.unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2)).flatten(1)
    return x @ p["linear.weight"].T + p["linear.bias"]


@pytest.mark.parametrize("side", [25, 32, 56])
def test_forward_agrees_with_the_reference(side):
    net = resnet18(width=0.07, classes=7, channels=2, gain=1.2).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(3, 2, side, side, dtype=torch.float64)
    torch.testing.assert_close(net(x), reference(net, x))


def test_layers_are_the_papers():
    net = resnet18()
    convolutions = {
        name: (m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0])
        for name, m in net.features.named_modules()
        if isinstance(m, nn.Conv2d)
    }
    assert len(convolutions) == 1 + 16 + 3
    assert convolutions["stem"] == (3, 64, 3, 1)
    assert convolutions["stage1.0.conv1"] == (64, 64, 3, 1)
    assert convolutions["stage4.0.conv1"] == (256, 512, 3, 2)
    assert {n: c for n, c in convolutions.items() if "shortcut" in n} == {
        f"stage{stage}.0.shortcut": (into, 2 * into, 1, 2) for stage, into in ((2, 64), (3, 128), (4, 256))
    }
    assert net.linear.in_features == 512


def test_parameters_are_counted():
    weights = 27 * 64 + 4 * 9 * 64**2 + sum(9 * (c * 2 * c + 3 * (2 * c) ** 2) + c * 2 * c for c in (64, 128, 256))
    biases = 64 + 4 * 64 + 5 * (128 + 256 + 512)
    assert sum(p.numel() for p in resnet18().parameters()) == weights + biases + 512 * 10 + 10


@pytest.mark.parametrize("side", [8, 24, 57])
def test_other_sizes_are_refused(side):
    with pytest.raises(ValueError, match=r"ResNet-18 takes images of 25 to 56 .*data\.size=32"):
        resnet18(width=0.05)(torch.randn(2, 3, side, side))
