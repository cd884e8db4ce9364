"""Random convolutional features: whitened patches of training images as filters, two-sided rectifier, average pooling.

Source: the pipeline of B. Recht, R. Roelofs, L. Schmidt, V. Shankar, Do CIFAR-10 Classifiers Generalize to CIFAR-10?
(2018), after A. Coates & A. Ng (2011).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..training.precision import matmul_precision

PATCH = 6  # pixels a side
PATCHES = 100_000  # from which the covariance is estimated
WHITENING = 1e-3
THRESHOLD = 1.0
POOL, STRIDE = 15, 6
CELLS = {"cpu": 2**19, "cuda": 2**27}  # of the convolution at a time: what caches hold, what fills a GPU


def check_size(images: Tensor) -> None:
    """Raise ValueError if ``images`` (n, C, H, W) are smaller than a patch."""
    height, width = images.shape[-2:]
    if min(height, width) < PATCH:
        raise ValueError(
            f"images of {height}x{width} pixels are smaller than the patches of {PATCH}x{PATCH}: use data.size={PATCH} "
            "or more"
        )


def draw_patches(images: Tensor, count: int, seed: int) -> Tensor:
    """``count`` patches p of ``images``, uint8 (n, C, H, W), each (p - mean p) / |p - mean p|, in float64 on the CPU.

    Image and place are drawn with ``seed``, uniformly. A constant patch is zero.

    Returns:
        (count, C * 6 * 6).
    """
    generator = torch.Generator().manual_seed(seed)
    places = [size - PATCH + 1 for size in images.shape[-2:]]
    index, top, left = (torch.randint(limit, (count,), generator=generator) for limit in (len(images), *places))
    windows = images.cpu().unfold(2, PATCH, 1).unfold(3, PATCH, 1)
    patches = windows[index, :, top, left].flatten(1).double() / 255
    patches -= patches.mean(1, keepdim=True)
    norms = patches.norm(dim=1, keepdim=True)
    return patches / norms.where(norms >= 1e-8, 1)


def draw_filters(images: Tensor, count: int, seed: int) -> Tensor:
    """``count`` filters p (C + 1e-3 I)^-1 of patches p (:func:`draw_patches`), with C = P^T P / n over n of them.

    n is 100,000, or ``count`` if that is more; the filters' patches are the first of those, so that a larger dictionary
    of the same seed begins with the smaller one. Every filter's mean is 0. Memory: the patches in float64.

    Returns:
        (count, C, 6, 6) in float64, on the CPU.
    """
    patches = draw_patches(images, max(PATCHES, count), seed)
    covariance = patches.T @ patches / len(patches)
    covariance.diagonal().add_(WHITENING)
    filters = torch.linalg.solve(covariance, patches[:count].T).T
    return filters.reshape(count, images.shape[1], PATCH, PATCH).contiguous()


def pooled_features(images: Tensor, filters: Tensor) -> Tensor:
    """relu(c - 1) and relu(-c - 1) of the valid convolution c of images in [0, 1], averaged over 15x15 at stride 6.

    A window that sticks out (of other than CIFAR-10's 32x32) is averaged over what it covers, and one that is larger
    than c is all of c. Cost: 2 * 108 operations a filter and pixel of c. Memory beside the result: three times 2^19
    numbers on the CPU, 2^27 on a GPU, where TF32 is off.

    Args:
        images: uint8 (n, C, H, W), H and W at least 6.
        filters: (N, C, 6, 6), on the same device; their type is that of the computation.

    Returns:
        (n, 2 * N * windows), 18 N at 32x32.
    """
    height, width = (size - PATCH + 1 for size in images.shape[-2:])
    batch = max(1, CELLS.get(images.device.type, CELLS["cuda"]) // (len(filters) * height * width))
    window = (min(POOL, height), min(POOL, width))
    with matmul_precision("float32"):
        return torch.cat([_features(part.to(filters.dtype) / 255, filters, window) for part in images.split(batch)])


def _features(images: Tensor, filters: Tensor, window: tuple[int, int]) -> Tensor:
    responses = F.conv2d(images, filters)
    above = F.avg_pool2d((responses - THRESHOLD).relu_(), window, STRIDE, ceil_mode=True)
    below = F.avg_pool2d(responses.neg_().sub_(THRESHOLD).relu_(), window, STRIDE, ceil_mode=True)
    return torch.stack([above, below], 1).flatten(1)
