"""Random features by their definition, in float64, a window at a time: slow and obviously right."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def slow_features(images: Tensor, filters: Tensor) -> Tensor:
    """(n, 2 * N * windows) of uint8 images (n, C, H, W) and filters (N, C, 6, 6)."""
    height, width = (size - 5 for size in images.shape[-2:])
    patches = F.unfold(images.double() / 255, 6)  # (n, C * 36, height * width)
    responses = torch.einsum("fp,npl->nfl", filters.double().flatten(1), patches)
    responses = responses.reshape(len(images), len(filters), height, width)
    halves = torch.stack([torch.relu(responses - 1), torch.relu(-responses - 1)], 1)
    windows = [
        halves[..., top : top + 15, left : left + 15].mean((-2, -1)) for top in starts(height) for left in starts(width)
    ]
    return torch.stack(windows, -1).flatten(1)


def starts(size: int) -> range:
    """Of windows of 15 at stride 6, the last of which may stick out."""
    return range(0, 6 * (max(0, math.ceil((size - 15) / 6)) + 1), 6)


def slow_ridge(features: Tensor, targets: Tensor, regulariser: float) -> Tensor:
    """Weights (d, K) by least squares on the augmented system."""
    ridge = regulariser * features.square().sum(1).mean()
    rows = torch.cat([features, ridge.sqrt() * torch.eye(features.shape[1], dtype=torch.float64)])
    zeros = torch.zeros(features.shape[1], targets.shape[1], dtype=torch.float64)
    return torch.linalg.lstsq(rows, torch.cat([targets, zeros])).solution
