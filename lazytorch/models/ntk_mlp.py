"""Fully connected networks in the parametrisation of the neural tangent kernel."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mlp import activation_layer


class NTKLinear(nn.Module):
    """x -> (gain / sqrt(inputs)) W x + b with W ~ N(0, 1), b = 0: the factor is in the layer, not in its weights."""

    def __init__(self, inputs: int, outputs: int, gain: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.factor = gain * inputs**-0.5

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        return F.linear(self.factor * x, self.weight, self.bias)


def ntk_mlp(
    width: int = 256,
    depth: int = 2,
    classes: int = 10,
    channels: int = 3,
    size: int = 32,
    activation: str = "relu",
    gain: float = 1.0,
) -> nn.Sequential:
    """As :func:`mlp` with weights N(0, 1) that every layer multiplies by gain / sqrt(inputs), from torch's generator.

    The outputs are those of weights N(0, gain^2 / inputs), but gradients in the weights have the factor too: the
    tangent kernel has a limit as ``width`` grows, every layer has a share in it, and stable steps do not depend on
    the width.

    Raises:
        ValueError: an unknown ``activation``.

    Source: Jacot, Gabriel & Hongler, "Neural Tangent Kernel" (NeurIPS 2018).
    """
    layers: list[nn.Module] = [nn.Flatten()]
    inputs = channels * size * size
    for _ in range(depth):
        layers += [NTKLinear(inputs, width, gain), activation_layer(activation)]
        inputs = width
    return nn.Sequential(*layers, NTKLinear(inputs, classes, gain))
