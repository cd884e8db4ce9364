import os

import pytest
import torch
from PIL import Image

from lazytorch.data import digits, folder, load, sets
from lazytorch.data.decoding import decode


def test_the_whole_set_is_unchanged():
    for loaded, whole in zip(load("digits"), digits(), strict=True):
        assert loaded.fingerprint() == whole.fingerprint()


def test_unknown_names_are_listed():
    with pytest.raises(ValueError, match="unknown image set 'mnist': choose digits, images or cifar10"):
        load("mnist")


@pytest.mark.parametrize("size", [0, -4])
def test_impossible_sides_are_refused(size):
    with pytest.raises(ValueError, match=r"data\.size=.* is no side in pixels"):
        load("digits", size=size)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two classes of two images each, and nothing kept from other tests."""
    monkeypatch.setattr(sets, "_kept", {})
    for part in ("train", "test"):
        for value, name in ((10, "ant"), (20, "bee")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(2):
                Image.new("L", (2, 2), value + number).save(tmp_path / part / name / f"{number}.bmp")
    return tmp_path


@pytest.fixture
def decoded(monkeypatch):
    """The files decoded so far."""
    files = []

    def counted(file, *arguments):
        files.append(file)
        return decode(file, *arguments)

    monkeypatch.setattr(folder, "decode", counted)
    return files


def test_the_same_images_are_read_once(root, decoded):
    first, again = (load("images", root, train_size=2, seed=3) for _ in range(2))
    assert all(left is right for left, right in zip(first, again, strict=True)) and len(decoded) == 6


def test_other_arguments_read_other_images(root, decoded):
    pairs = [load("images", root, size=size, train_size=n, seed=s) for size, n, s in ((4, 2, 0), (3, 2, 0), (3, 3, 0))]
    assert [pair[0].images.shape for pair in pairs] == [(2, 1, 4, 4), (2, 1, 3, 3), (3, 1, 3, 3)]
    assert len(decoded) == 6 + 6 + 7
    load("images", root, size=4, train_size=2)  # of which two are kept
    assert len(decoded) == 25 and len(sets._kept) == 2


def test_digits_are_read_once(monkeypatch):
    monkeypatch.setattr(sets, "_kept", {})
    assert load("digits", train_size=30)[0] is load("digits", train_size=30)[0]
    assert load("digits", train_size=30, seed=1)[0] is not load("digits", train_size=30)[0]


def test_changed_files_are_read_again(root, decoded):
    before, _ = load("images", root)
    file = root / "train" / "ant" / "0.bmp"
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    Image.new("L", (2, 2), 99).save(file)
    os.utime(file, ns=times)  # even with the old time
    after, _ = load("images", root)
    assert before.images[0, 0, 0, 0] == 10 and after.images[0, 0, 0, 0] == 99


def test_new_files_are_read(root):
    assert len(load("images", root)[0]) == 4
    Image.new("L", (2, 2), 99).save(root / "train" / "bee" / "2.bmp")
    assert len(load("images", root)[0]) == 5


@pytest.mark.parametrize("write", [lambda x: x.zero_(), lambda x: x.numpy().fill(0)], ids=["torch", "numpy"])
def test_images_written_into_are_read_again(root, write):
    train, _ = load("images", root)
    expected = train.images.clone()
    write(train.images)
    assert torch.equal(load("images", root)[0].images, expected) and expected.any()
