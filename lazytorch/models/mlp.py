"""Fully connected networks on flattened inputs."""

from collections import OrderedDict

from torch import nn

from .initial import initialise

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "sigmoid": nn.Sigmoid, "identity": nn.Identity}


def mlp(
    width: int = 256,
    depth: int = 2,
    classes: int = 10,
    channels: int = 3,
    size: int = 32,
    activation: str = "relu",
    gain: float = 1.0,
) -> nn.Sequential:
    """``depth`` hidden layers of ``width`` units, then a linear layer: (N, channels, size, size) to (N, classes).

    The input is flattened, so vectors of length d are channels=d, size=1 and may have shape (N, d). ``activation`` is
    relu, tanh, gelu, sigmoid or identity (a deep linear net). Weights are Xavier-normal with ``gain``, biases 0, from
    torch's global generator.

    Raises:
        ValueError: if ``activation`` is none of these.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = channels * size * size
    for layer in range(1, depth + 1):
        layers[f"hidden{layer}"] = nn.Linear(inputs, width)
        layers[f"{activation}{layer}"] = activation_layer(activation)
        inputs = width
    layers["output"] = nn.Linear(inputs, classes)
    return initialise(nn.Sequential(layers), gain)


def activation_layer(activation: str) -> nn.Module:
    """The module of that name, or a ValueError."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}: choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation]()


def two_layer(
    neurons: int = 1024, classes: int = 10, channels: int = 3, size: int = 32, gain: float = 1.0
) -> nn.Sequential:
    """f(x) = sum_j b_j relu(a_j . x), without biases: (N, channels, size, size) to (N, classes).

    The rows of ``hidden.weight`` (neurons, channels * size * size) are the a_j and the columns of ``output.weight``
    (classes, neurons) the b_j. The input is flattened, so vectors of length d are channels=d, size=1 and may have
    shape (N, d). Weights are Xavier-normal with ``gain``, from torch's global generator.

    Source: Chizat, Oyallon & Bach, arXiv:1812.07956, Section 3.1.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        flatten=nn.Flatten(),
        hidden=nn.Linear(channels * size * size, neurons, bias=False),
        relu=nn.ReLU(),
        output=nn.Linear(neurons, classes, bias=False),
    )
    return initialise(nn.Sequential(layers), gain)
