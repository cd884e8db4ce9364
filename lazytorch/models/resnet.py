"""The paper's ResNet-18: no batch norm, 3x3 stem, 1x1 convolution where the shape changes."""

from collections import OrderedDict

from torch import Tensor, nn

from .convnet import ConvNet, scaled
from .initial import initialise


class BasicBlock(nn.Module):
    """relu(conv2(relu(conv1(x))) + shortcut(x)): (N, channels, H, W) to (N, size, H / stride, W / stride)."""

    def __init__(self, channels: int, size: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, size, kernel_size=3, stride=stride, padding=1)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(size, size, kernel_size=3, padding=1)
        same = stride == 1 and channels == size
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, size, kernel_size=1, stride=stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu2(self.conv2(self.relu1(self.conv1(x))) + self.shortcut(x))


def resnet18(width: float = 1.0, classes: int = 10, channels: int = 3, gain: float = 1.0) -> nn.Module:
    """ResNet-18 without batch norm: images (N, channels, H, W), H and W from 25 to 56, to outputs (N, classes).

    A 3x3 stem of 64 channels without pooling; four stages of two basic blocks with 64, 128, 256, 512 channels and
    strides 1, 2, 2, 2; 4x4 average pooling; one linear layer. A layer of c channels has max(1, round(width * c)).
    Weights are Xavier-normal with ``gain``, biases 0, from torch's global generator.

    Source: Chizat, Oyallon & Bach, arXiv:1812.07956, Section 3.2; after He, Zhang, Ren & Sun, arXiv:1512.03385.

    Raises:
        ValueError: if ``width`` is not positive; in ``forward``, if the images have other sizes.
    """
    stem = scaled(64, width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        stem=nn.Conv2d(channels, stem, kernel_size=3, padding=1), relu=nn.ReLU()
    )
    channels = stem
    for stage, (size, stride) in enumerate(((64, 1), (128, 2), (256, 2), (512, 2)), start=1):
        size = scaled(size, width)
        layers[f"stage{stage}"] = nn.Sequential(BasicBlock(channels, size, stride), BasicBlock(size, size, stride=1))
        channels = size
    layers["pool"] = nn.AvgPool2d(kernel_size=4)
    return initialise(ConvNet("ResNet-18", nn.Sequential(layers), nn.Linear(channels, classes), sides=(25, 56)), gain)
