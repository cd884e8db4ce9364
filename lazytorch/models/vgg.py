"""The paper's VGG-11: no batch norm, five poolings, one linear layer."""

from collections import OrderedDict

from torch import nn

from .convnet import ConvNet, scaled
from .initial import initialise

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))


def vgg11(width: float = 1.0, classes: int = 10, channels: int = 3, gain: float = 1.0) -> nn.Module:
    """VGG-11 without batch norm: images (N, channels, H, W), H and W from 32 to 63, to outputs (N, classes).

    Each stage is one or two 3x3 convolutions with ReLU, then 2x2 max pooling; a layer of c channels has
    max(1, round(width * c)). Weights are Xavier-normal with ``gain``, biases 0, from torch's global generator.

    Source: Chizat, Oyallon & Bach, arXiv:1812.07956, Section 3.2; after Simonyan & Zisserman, arXiv:1409.1556.

    Raises:
        ValueError: if ``width`` is not positive; in ``forward``, if the images have other sizes.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, sizes in enumerate(STAGES, start=1):
        for depth, size in enumerate(sizes, start=1):
            size = scaled(size, width)
            layers[f"conv{stage}_{depth}"] = nn.Conv2d(channels, size, kernel_size=3, padding=1)
            layers[f"relu{stage}_{depth}"] = nn.ReLU()
            channels = size
        layers[f"pool{stage}"] = nn.MaxPool2d(kernel_size=2)
    return initialise(ConvNet("VGG-11", nn.Sequential(layers), nn.Linear(channels, classes), sides=(32, 63)), gain)
