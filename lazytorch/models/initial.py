"""Initial weights: Xavier-normal with a gain, zero biases."""

from typing import TypeVar

from torch import nn

Net = TypeVar("Net", bound=nn.Module)


def initialise(net: Net, gain: float) -> Net:
    """Draw linear and convolutional weights from N(0, gain^2 2 / (fan_in + fan_out)), set biases to 0; return ``net``.

    The draws come from torch's global generator, in the order of ``net.modules()``.

    Source: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_normal_(module.weight, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return net
