"""Training steps of small networks of torchvision's families on a stand-in accelerator; not a test itself.

Its arguments are families, each in a process of its own; prints the transfers between devices in a step that has been
traced, or the error that ended it, as one JSON object a line. Reading a value raises there, as it would wait.
"""

import math
import os
import sys

import torch
import torch.utils._pytree as pytree
from stand_in import DEVICE, FakeTensorMode, leave_with
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import models as tv
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import Bottleneck
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

import lazytorch as lt
from lazytorch.anchored import with_tensors


class Operators(nn.Module):
    """What needs tables or constants, and no family has."""

    def __init__(self):
        super().__init__()
        self.first, self.pool, self.mean = nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(4), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = self.pool(self.first(x))
        mean = self.mean(x.to(memory_format=torch.channels_last))  # which asks for its strides
        return torch.copysign(x.abs() ** 2.5 + 2.0**x, 1.0) + mean


def mobilenet_v3():
    first = InvertedResidualConfig(16, 3, 16, 16, True, "RE", 2, 1, 1)
    return tv.MobileNetV3([first, InvertedResidualConfig(16, 5, 64, 24, True, "HS", 2, 1, 1)], 32, 10)


def swin(**options):
    return tv.SwinTransformer([4, 4], 16, [1, 2], [2, 2], [4, 4], stochastic_depth_prob=0.1, num_classes=10, **options)


def vgg():
    net = tv.VGG(tv.vgg.make_layers([8, "M", 16, "M"], True), 10)
    net.classifier[0] = nn.Linear(16 * 7 * 7, 4096)
    return net


FAMILIES = {
    "operators": (Operators, 16),
    "alexnet": (lambda: tv.AlexNet(10), 64),
    "convnext": (lambda: tv.ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)], 0.1, num_classes=10), 32),
    "densenet": (lambda: tv.DenseNet(8, (2, 2), 16, num_classes=10), 32),
    "efficientnet": (
        lambda: tv.EfficientNet(
            [MBConvConfig(1, 3, 1, 32, 16, 1), MBConvConfig(6, 3, 2, 16, 24, 2)], 0.2, num_classes=10
        ),
        32,
    ),
    "googlenet": (lambda: tv.GoogLeNet(10, aux_logits=False, init_weights=False), 64),
    "inception": (lambda: tv.Inception3(10, aux_logits=False, init_weights=False), 96),
    "maxvit": (lambda: tv.MaxVit((32, 32), 16, 4, [16, 32], [1, 1], 8, 0.1, num_classes=10), 32),
    "mnasnet": (lambda: tv.MNASNet(0.25, 10), 32),
    "mobilenet_v2": (lambda: tv.MobileNetV2(10, 0.25, [[1, 16, 1, 1], [6, 24, 2, 2]]), 32),
    "mobilenet_v3": (mobilenet_v3, 32),
    "regnet": (lambda: tv.RegNet(BlockParams([1, 1], [16, 32], [8, 8], [1.0, 1.0], [2, 2], 0.25), 10), 32),
    "resnet": (lambda: tv.ResNet(Bottleneck, [1, 1, 1, 1], 10), 32),
    "shufflenet": (lambda: tv.ShuffleNetV2([2, 2, 2], [8, 16, 32, 64, 64], 10), 32),
    "squeezenet": (lambda: tv.SqueezeNet("1_1", 10), 64),
    "swin": (swin, 32),
    "swin_v2": (lambda: swin(block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2), 32),
    "vgg": (vgg, 32),
    "vit": (lambda: tv.VisionTransformer(32, 16, 1, 2, 16, 32, 0.1, num_classes=10), 32),
}


class Transfers(TorchDispatchMode):
    """Collects the operators that take or give tensors of two devices, but for numbers, which kernels are passed."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        copies = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        if {t.device.type for t in tensors if t.dim() or copies} >= {DEVICE, "cpu"}:
            self.found.append(str(func))
        return out


def step(model, x) -> None:
    loss = model(x).square().mean()
    model.zero_grad()
    if model.alpha > 1:  # below that it is torch's own, which on the stand-in keeps the statistics that it then updates
        loss.backward()


def transfers(family: str) -> dict[str, list[str]]:
    build, size = FAMILIES[family]
    net, found = build(), {}
    with FakeTensorMode():
        net = with_tensors(net, lambda t: torch.empty(t.shape, dtype=t.dtype, device=DEVICE))
        x = torch.zeros(2, 3, size, size, device=DEVICE)
        model = lt.CenteredModel(net, 1.0)
        for alpha in (1.0, 1e7, math.inf):
            model.alpha = alpha
            step(model, x)
            with Transfers() as seen:
                step(model, x)
            found[f"{alpha:g}"] = seen.found
    return found


def end_of(family: str):
    try:
        return transfers(family)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    for family in sys.argv[1:]:
        if os.fork() == 0:
            leave_with({family: end_of(family)})
        os.wait()
