"""Random features against their definition, step by step."""

import pytest
import torch
import torch.nn.functional as F

from lazytorch.theory import random_features
from lazytorch.theory.random_features import check_size, draw_filters, draw_patches, pooled_features

from .slow_features import slow_features


def random_images(*shape):
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def random_filters(count, channels, scale=0.3):
    generator = torch.Generator().manual_seed(1)
    return scale * torch.randn(count, channels, 6, 6, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [(32, 32), (22, 33), (8, 8), (6, 7)])
def test_features_are_those_of_the_definition(size):
    images, filters = random_images(5, 3, *size), random_filters(7, 3)
    expected = slow_features(images, filters)
    assert (expected > 0).any() and (expected[:, : expected.shape[1] // 2] > 0).any()
    torch.testing.assert_close(pooled_features(images, filters), expected, rtol=1e-12, atol=1e-13)
    single = pooled_features(images, filters.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-5)


def test_a_filter_has_18_features_of_a_cifar_image():
    assert pooled_features(random_images(2, 3, 32, 32), random_filters(7, 3)).shape == (2, 18 * 7)


def test_batches_of_images_change_nothing(monkeypatch):
    images, filters = random_images(7, 1, 24, 24), random_filters(3, 1)
    whole = pooled_features(images, filters)
    monkeypatch.setitem(random_features.CELLS, "cpu", 2 * 3 * 19 * 19 + 1)
    torch.testing.assert_close(pooled_features(images, filters), whole, rtol=1e-12, atol=1e-13)


def test_patches_are_windows_of_the_images_without_mean_and_of_norm_one():
    images = random_images(2, 3, 8, 9)
    patches = draw_patches(images, 300, seed=3)
    windows = F.unfold(images.double() / 255, 6).transpose(1, 2).flatten(0, 1)
    windows = windows - windows.mean(1, keepdim=True)
    windows = windows / windows.norm(dim=1, keepdim=True)
    distances = torch.cdist(patches, windows, compute_mode="donot_use_mm_for_euclid_dist")
    assert distances.min(1).values.max() < 1e-13
    assert len(distances.argmin(1).unique()) == len(windows)  # every image, every place
    torch.testing.assert_close(draw_patches(images, 300, seed=3), patches, rtol=0, atol=0)
    assert not torch.equal(draw_patches(images, 300, seed=4), patches)


def test_a_constant_patch_is_zero():
    assert (draw_patches(torch.full((2, 1, 8, 8), 200, dtype=torch.uint8), 9, seed=0) == 0).all()


def test_filters_are_whitened_patches():
    images = random_images(30, 1, 12, 12)
    patches = draw_patches(images, 100_000, seed=5)
    covariance = sum(block.T @ block for block in patches.split(9999)) / 100_000
    whitened = patches[:20] @ torch.linalg.inv(covariance + 1e-3 * torch.eye(36, dtype=torch.float64))
    filters = draw_filters(images, 20, seed=5)
    torch.testing.assert_close(filters, whitened.reshape(20, 1, 6, 6), rtol=1e-9, atol=1e-9)
    assert filters.mean((1, 2, 3)).abs().max() < 1e-12 * filters.abs().max()
    torch.testing.assert_close(draw_filters(images, 8, seed=5), filters[:8], rtol=1e-12, atol=0)


def test_images_smaller_than_a_patch_are_refused():
    check_size(random_images(1, 1, 6, 6))
    with pytest.raises(ValueError, match="5x9 pixels are smaller than the patches of 6x6: use data.size=6 or more"):
        check_size(random_images(1, 1, 5, 9))
