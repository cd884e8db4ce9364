import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
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
        ([(torch.zeros(3), 0), ([0.0] * 3, 0)], TypeError, "input 1 of the dataset: a list is no tensor"),
        ([(torch.zeros(3), "cat")], TypeError, "label 0 of the dataset: a str is no tensor"),
        ([(np.array([None]), 0)], TypeError, "input 0 of the dataset: an array of dtype object"),
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


class Streamed(IterableDataset):
    def __len__(self):
        return 3

    def __iter__(self):
        return iter(range(3))


def test_streams_and_loaders_are_refused():
    with pytest.raises(TypeError, match="Streamed has no length: pass a map-style dataset"):
        from_dataset(Streamed())
    with pytest.raises(TypeError, match=r"loader\.dataset"):
        from_dataset(DataLoader(Listed((torch.zeros(3), 0))))


def test_numpy_items():
    items = [(np.full(3, i, dtype=np.float32), np.int64(i)) for i in range(4)]
    inputs, labels = from_dataset(Listed(*items))
    assert torch.equal(inputs, torch.arange(4.0)[:, None].expand(4, 3))
    assert labels.tolist() == [0, 1, 2, 3] and labels.dtype == torch.int64


def test_what_becomes_of_pillow_images_is_said(caplog):
    clear = Image.new("RGBA", (2, 2), (200, 100, 50, 0))
    inputs, _ = from_dataset(Listed((Image.new("RGB", (2, 2)), 0), (clear, 1), (clear, 1)))
    assert not inputs.any()
    assert [record.getMessage() for record in caplog.records] == [
        "2 of 3 images have an alpha channel, composited on black (first: input 1 of the dataset)"
    ]
