import re

import numpy as np
import pytest
import torch
from PIL import Image

from lazytorch.data import ImageSet
from lazytorch.data.decoding import image_to_tensor


def image_set(n=5, side=6):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 3, side, side), dtype=torch.uint8, generator=generator)
    return ImageSet(images, torch.arange(n) % 2, ("cat", "dog"))


def test_fingerprint_tells_pixels_labels_and_shape_apart():
    original = image_set()
    assert re.fullmatch("[0-9a-f]{16}", original.fingerprint())
    assert original.fingerprint() == image_set().fingerprint()

    pixel = original.images.clone()
    pixel[4, 2, 5, 5] ^= 1
    others = [
        ImageSet(pixel, original.labels, original.classes),
        ImageSet(original.images, 1 - original.labels, original.classes),
        ImageSet(original.images.reshape(5, 3, 4, 9), original.labels, original.classes),
    ]
    assert len({other.fingerprint() for other in [original, *others]}) == 4


def test_fingerprint_ignores_memory_layout():
    original = image_set()
    relaid = original.images.to(memory_format=torch.channels_last)
    assert ImageSet(relaid, original.labels, original.classes).fingerprint() == original.fingerprint()


def test_select_keeps_order_and_labels():
    original = image_set()
    chosen = original.select(torch.tensor([3, 0]))
    assert torch.equal(chosen.images, original.images[[3, 0]])
    assert chosen.labels.tolist() == [1, 0]


@pytest.mark.parametrize("size", [4, 15])
def test_resize_agrees_with_pillow(size):
    original = image_set()
    resized = original.resize(size).images
    for image, got in zip(original.images, resized, strict=True):
        expected = image_to_tensor(Image.fromarray(image.permute(1, 2, 0).numpy()), size)
        assert (got.int() - expected.int()).abs().max() <= 1


def test_resizing_to_another_aspect_ratio_is_said(caplog):
    image_set().resize(4)
    assert not caplog.records
    ImageSet(image_set().images[..., :3], image_set().labels, ("cat", "dog")).resize(4)
    assert [record.getMessage() for record in caplog.records] == [
        "all 5 images are not square, resized to a square without keeping the aspect ratio: 3x6 to 4x4"
    ]


def test_resize_to_the_same_size_changes_nothing():
    original = image_set()
    assert original.resize(6) is original


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_images_have_one_channel(mode):
    pixels = np.array([[0, 255, 0], [255, 255, 0]], dtype=np.uint8)
    tensor = image_to_tensor(Image.fromarray(pixels).convert(mode))
    assert torch.equal(tensor, torch.from_numpy(pixels)[None])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_coloured_images_have_three_channels(mode):
    pixels = np.array([[[255, 0, 0], [0, 0, 255]]], dtype=np.uint8)
    tensor = image_to_tensor(Image.fromarray(pixels).convert(mode))
    assert torch.equal(tensor, torch.from_numpy(pixels).permute(2, 0, 1))


def test_sixteen_bits_are_refused():
    with pytest.raises(ValueError, match="more than 8 bits"):
        image_to_tensor(Image.fromarray(np.full((2, 2), 40000, dtype=np.uint16)))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2).long(), "images must be uint8"),
        (torch.zeros(2, 3, 4).byte(), torch.zeros(2).long(), "images must be uint8"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(3).long(), "labels must be int64"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(2), "labels must be int64"),
        (torch.zeros(0, 3, 4, 4).byte(), torch.zeros(0).long(), "empty"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.tensor([0, 2]), "with 2 classes"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.tensor([0, -1]), "with 2 classes"),
    ],
)
def test_wrong_tensors_are_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(images, labels, ("cat", "dog"))
