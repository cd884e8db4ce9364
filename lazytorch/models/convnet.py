"""What VGG-11 and ResNet-18 share: features pooled to one position, then one linear layer."""

from torch import Tensor, nn


class ConvNet(nn.Module):
    """linear(flatten(features(x))): images (N, C, H, W) to outputs (N, classes).

    ``sides`` are the smallest and the largest H and W that ``features`` pools to a single position.

    Raises:
        ValueError: in ``forward``, if H or W is outside ``sides``.
    """

    def __init__(self, name: str, features: nn.Sequential, linear: nn.Linear, sides: tuple[int, int]):
        super().__init__()
        self.name, self.sides = name, sides
        self.features = features
        self.flatten = nn.Flatten()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.sides
        if not all(low <= side <= high for side in x.shape[-2:]):
            raise ValueError(
                f"{self.name} takes images of {low} to {high} pixels a side, got {tuple(x.shape)}: "
                f"resize the images, for example to 32 (data.size=32)"
            )
        return self.linear(self.flatten(self.features(x)))


def scaled(channels: int, width: float) -> int:
    """max(1, round(width * channels)). Raises ValueError unless width > 0."""
    if not width > 0:
        raise ValueError(f"width={width} is not a positive number: give the factor on the channels (model.width=1)")
    return max(1, round(width * channels))
