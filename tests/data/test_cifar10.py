import hashlib
import pickle
import tarfile

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from lazytorch.data import cifar10, load

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CLOSED = "http://127.0.0.1:9/cifar-10-python.tar.gz"


def write(path, content) -> str:
    path.write_bytes(pickle.dumps(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A small CIFAR-10 in the official layout, its md5 sums told to torchvision, and no network: root and pixels."""
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    pixels = {}

    def batch(name, n):
        pixels[name] = rng.integers(256, size=(n, 3072), dtype=np.uint8)
        return [name, write(folder / name, {"data": pixels[name], "labels": [i % 10 for i in range(n)]})]

    monkeypatch.setattr(CIFAR10, "train_list", [batch(f"data_batch_{i}", 20) for i in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch", 20)])
    meta = write(folder / "batches.meta", {"label_names": NAMES})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": meta})
    monkeypatch.setattr(CIFAR10, "url", CLOSED)
    return tmp_path, pixels


def test_official_files(official):
    root, pixels = official
    train, test = cifar10(root)
    expected = np.concatenate([pixels[f"data_batch_{i}"] for i in range(1, 6)])
    assert torch.equal(train.images.flatten(1), torch.from_numpy(expected))
    assert torch.equal(test.images.flatten(1), torch.from_numpy(pixels["test_batch"]))
    assert train.images.shape == (100, 3, 32, 32)
    assert train.labels.tolist() == [i % 10 for i in range(20)] * 5
    assert train.classes == tuple(NAMES)


def test_subset(official):
    train, test = load("cifar10", official[0], train_size=30, test_size=10, size=16)
    assert train.labels.bincount().tolist() == [3] * 10 and test.labels.bincount().tolist() == [1] * 10
    assert train.images.shape == (30, 3, 16, 16)


def test_damaged_files_are_unpacked_again(official, monkeypatch):
    root, pixels = official
    archive = root / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / CIFAR10.base_folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    (root / CIFAR10.base_folder / "data_batch_3").write_bytes(b"damaged")
    train, _ = cifar10(root)
    assert torch.equal(train.images[40:60].flatten(1), torch.from_numpy(pixels["data_batch_3"]))


@pytest.mark.parametrize("file", ["data_batch_3", "batches.meta"])
def test_damaged_files_without_a_network(official, file):
    root, _ = official
    (root / CIFAR10.base_folder / file).write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match=r"damaged \(md5; delete the folder\)") as caught:
        cifar10(root)
    assert "\n" not in str(caught.value) and CIFAR10.filename in str(caught.value)


def test_no_files_and_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", CLOSED)
    with pytest.raises(RuntimeError, match="there are no CIFAR-10 files") as caught:
        cifar10(tmp_path)
    assert "\n" not in str(caught.value) and f"into {tmp_path}" in str(caught.value)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (PermissionError(13, "Permission denied", "/data/data_batch_1"), "/data/data_batch_1: Permission denied"),
        (OSError(28, "No space left on device"), "{root}: No space left on device"),
    ],
)
def test_what_the_file_system_refuses_is_named(tmp_path, monkeypatch, error, named):
    def refuse(*_):
        raise error

    monkeypatch.setattr(CIFAR10, "download", refuse)
    with pytest.raises(RuntimeError) as caught:
        cifar10(tmp_path)
    assert str(caught.value).startswith(f"cannot read or write {named.format(root=tmp_path)}: make room")


def test_damaged_files_are_not_kept(official):
    root, _ = official
    assert load("cifar10", root)[0] is load("cifar10", root)[0]
    (root / CIFAR10.base_folder / "data_batch_3").write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="damaged"):
        load("cifar10", root)


def test_root_is_needed():
    with pytest.raises(ValueError, match=r"data\.root=DIR"):
        load("cifar10")
