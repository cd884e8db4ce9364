import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset
from torchvision.datasets import ImageFolder

from lazytorch.data import from_dataset


class Listed(Dataset):
    def __init__(self, *items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_tensors_come_back(dtype):
    inputs = torch.randint(256, (7, 3, 4, 5), generator=torch.Generator().manual_seed(0)).to(dtype)
    labels = torch.arange(7)
    for got, expected in zip(from_dataset(TensorDataset(inputs, labels)), (inputs, labels), strict=True):
        assert torch.equal(got, expected) and got.dtype == expected.dtype


def test_pillow_images(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(4, 6, 5, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        folder = tmp_path / f"class{number % 2}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.png")
    inputs, labels = from_dataset(ImageFolder(tmp_path))
    assert torch.equal(inputs, torch.from_numpy(pixels[[0, 2, 1, 3]]).permute(0, 3, 1, 2))
    assert labels.tolist() == [0, 0, 1, 1] and labels.dtype == torch.int64


def test_floating_targets():
    inputs, labels = from_dataset(Listed((torch.zeros(2), 0.5), (torch.ones(2), 1.5)))
    assert inputs.shape == (2, 2) and labels.tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("items", "kind", "message"),
    [
        ([], ValueError, "empty"),
        ([torch.zeros(3)], TypeError, "item 0 .* return an .input, label. pair"),
        ([(torch.zeros(3), 0), (np.zeros(3), 0)], TypeError, "input 1 .* is a ndarray"),
        ([(torch.zeros(3), "cat")], TypeError, "label 0 .* is a str"),
        (
            [(torch.zeros(3), 0), (torch.zeros(4), 0)],
            ValueError,
            r"inputs differ in shape, \(3,\) at 0 and \(4,\) at 1",
        ),
    ],
)
def test_other_items_are_refused(items, kind, message):
    with pytest.raises(kind, match=message):
        from_dataset(Listed(*items))


def test_a_length_is_needed():
    with pytest.raises(TypeError, match="Dataset has no length: pass a map-style dataset"):
        from_dataset(Dataset())
