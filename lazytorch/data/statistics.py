"""The mean and standard deviation of each channel."""

import torch
from torch import Tensor


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of images (N, C, H, W) uint8, in units where 255 is 1.

    Exact up to float64 rounding: a channel is reduced to the histogram of its 256 values. The standard deviation is the
    population's, over images and pixels; a constant channel gets 1, so that dividing by it is harmless.

    Raises:
        TypeError: if the images are not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"channel_statistics needs uint8 images, got {images.dtype}: convert them")
    mean, std = zip(*(_statistics(channel) for channel in images.unbind(1)), strict=True)
    return mean, std


def _statistics(channel: Tensor) -> tuple[float, float]:
    share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
    values = torch.arange(256, dtype=torch.float64, device=channel.device) / 255
    mean = share @ values
    std = (share @ (values - mean) ** 2).sqrt()
    return mean.item(), std.item() if (share > 0).sum() > 1 else 1.0
