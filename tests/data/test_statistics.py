import pytest
import torch

from lazytorch.data import channel_statistics


def test_statistics_agree_with_float64():
    images = torch.randint(256, (13, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[:, 1] //= 3
    mean, std = channel_statistics(images)
    scaled = images.double() / 255
    torch.testing.assert_close(torch.tensor(mean).double(), scaled.mean((0, 2, 3)))
    torch.testing.assert_close(torch.tensor(std).double(), scaled.std((0, 2, 3), correction=0))
    assert all(isinstance(value, float) for value in mean + std)


def test_constant_channel_has_standard_deviation_one():
    assert channel_statistics(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)) == ((51 / 255,), (1.0,))


def test_floating_images_are_refused():
    with pytest.raises(TypeError, match="uint8"):
        channel_statistics(torch.zeros(2, 3, 4, 4))
