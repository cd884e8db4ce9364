import os
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lazytorch import progress
from lazytorch.data import folder, image_folder, load


def write(path: Path, value: int, mode: str = "RGB", side: tuple[int, int] = (5, 4), alpha: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", side, (value, value // 2, 7, alpha)).convert(mode).save(path)


@pytest.fixture
def root(tmp_path):
    """Three classes, seven training and two test images each, 5x4 pixels; the red value is 40 class + number."""
    for label, name in enumerate(["ant", "bee", "cow"]):
        for part, count in (("train", 7), ("test", 2)):
            for number in range(count):
                write(tmp_path / part / name / f"{number}.png", 40 * label + number)
    return tmp_path


def test_whole_set_comes_round_robin(root):
    train, test = image_folder(root)
    assert train.classes == test.classes == ("ant", "bee", "cow")
    assert train.images.shape == (21, 3, 4, 5) and test.images.shape == (6, 3, 4, 5)
    assert train.labels.tolist() == [0, 1, 2] * 7
    assert train.images[:, 0, 0, 0].tolist() == [40 * label + number for number in range(7) for label in range(3)]
    assert (train.images == train.images[:, :, :1, :1]).all() and (train.images[:, 2] == 7).all()


def test_subset_has_the_pixels_of_its_labels(root):
    train, test = image_folder(root, train_size=8, test_size=3, seed=4)
    assert sorted(train.labels.bincount().tolist()) == [2, 3, 3]
    assert test.labels.bincount().tolist() == [1, 1, 1]
    assert torch.equal(train.images[:, 0, 0, 0].long() // 40, train.labels)
    assert len(train.images[:, 0, 0, 0].unique()) == 8


def test_subset_is_seeded(root):
    first, again, other = (image_folder(root, 6, 3, seed=seed)[0].fingerprint() for seed in (1, 1, 2))
    assert first == again != other


def test_only_the_subset_is_decoded(root):
    train, _ = image_folder(root, train_size=3)
    decoded = {
        root / "train" / train.classes[label] / f"{red % 40}.png"
        for label, red in zip(train.labels.tolist(), train.images[:, 0, 0, 0].tolist(), strict=True)
    }
    assert len(decoded) == 3
    for file in set(root.glob("train/*/*.png")) - decoded:
        file.write_bytes(b"not an image")
    assert image_folder(root, train_size=3)[0].fingerprint() == train.fingerprint()


def test_jpeg_agrees_with_pillow(root):
    pixels = np.random.default_rng(0).integers(256, size=(4, 5, 3), dtype=np.uint8)
    file = root / "train" / "ant" / "0.JPEG"
    Image.fromarray(pixels).save(file)
    (root / "train" / "ant" / "0.png").unlink()
    with Image.open(file) as image:
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert torch.equal(image_folder(root)[0].images[0], expected)


def test_grey_images_give_one_channel(tmp_path):
    for part in ("train", "test"):
        write(tmp_path / part / "ant" / "0.png", 100, mode="L")
    train, test = image_folder(tmp_path)
    assert train.images.shape == test.images.shape == (1, 1, 4, 5)


def test_one_coloured_image_makes_three_channels(root):
    write(root / "train" / "ant" / "0.png", 100, mode="L")
    train, _ = image_folder(root)
    assert train.images.shape[1] == 3
    assert (train.images[0] == train.images[0, :1]).all()


def test_size_brings_images_together(root):
    write(root / "test" / "cow" / "1.png", 81, side=(9, 9))
    train, test = load("images", root, size=6)
    assert train.images.shape[1:] == test.images.shape[1:] == (3, 6, 6)
    assert test.images[-1, 0].unique().tolist() == [81]


def test_other_files_are_ignored(root):
    (root / "train" / ".cache").mkdir()
    (root / "train" / "ant" / "._0.png").write_bytes(b"resource fork")
    (root / "train" / "ant" / "notes.txt").write_text("notes")
    (root / "train" / "list.csv").write_text("a,b")
    assert len(image_folder(root)[0]) == 21


def test_links_to_images_are_images(root):
    expected = image_folder(root)[0].fingerprint()
    file = root / "train" / "ant" / "0.png"
    file.rename(root / "elsewhere.png")
    file.symlink_to(root / "elsewhere.png")
    assert image_folder(root)[0].fingerprint() == expected


def test_what_was_changed_is_said_once_a_load(root, caplog):
    write(root / "train" / "ant" / "0.png", 0, mode="RGBA", alpha=9)
    write(root / "test" / "bee" / "1.png", 41, mode="RGBA", alpha=9)
    load("images", root, size=6)
    first = root / "train" / "ant" / "0.png"
    assert [record.getMessage() for record in caplog.records] == [
        f"2 of 27 images have an alpha channel, composited on black (first: {first})",
        f"27 of 27 images are not square, resized to a square without keeping the aspect ratio (first: {first})",
    ]
    assert {record.name.split(".")[0] for record in caplog.records} == {"lazytorch"}


def test_root_may_name_the_home_directory(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(image_folder(f"~/{root.name}")[0]) == 21


def test_progress_goes_to_stderr(root, monkeypatch, capsys):
    monkeypatch.setattr(progress, "MANY", 2)
    image_folder(root)
    out, err = capsys.readouterr()
    assert out == "" and "reading images" in err


def break_missing(root):
    os.rename(root / "test", root / "tests")


def break_no_classes(root):
    os.rename(root / "test", root / "old")
    (root / "test").mkdir()


def break_no_images(root):
    (root / "train" / "dog").mkdir()


def break_classes(root):
    write(root / "train" / "dog" / "0.png", 1)


def break_corrupt(root):
    file = root / "train" / "bee" / "3.png"
    file.write_bytes(file.read_bytes()[:50])


def break_bits(root):
    Image.fromarray(np.full((4, 5), 40000, dtype=np.uint16)).save(root / "train" / "bee" / "3.png")


def break_sizes(root):
    write(root / "test" / "cow" / "1.png", 81, side=(9, 8))


def break_pipe(root):
    os.mkfifo(root / "train" / "bee" / "pipe.png")


def break_socket(root):
    os.mknod(root / "train" / "bee" / "socket.png", 0o600 | stat.S_IFSOCK)


def break_device(root):
    (root / "test" / "bee" / "zero.png").symlink_to("/dev/zero")


def break_link(root):
    (root / "test" / "bee" / "gone.png").symlink_to(root / "nowhere.png")


def break_loop(root):
    (root / "test" / "bee" / "loop.png").symlink_to(root / "test" / "bee" / "loop.png")


def break_large(root):
    with open(root / "train" / "bee" / "3.png", "ab") as file:
        file.truncate(folder.MAX_BYTES + 1)


@pytest.mark.parametrize(
    ("damage", "kind", "parts"),
    [
        (break_missing, FileNotFoundError, ["test", "train/<class>/*"]),
        (break_no_classes, ValueError, ["test", "no class folders"]),
        (break_no_images, ValueError, ["dog", "no images"]),
        (break_classes, ValueError, ["dog", "same class folders"]),
        (break_corrupt, ValueError, ["bee/3.png", "replace or remove"]),
        (break_bits, ValueError, ["bee/3.png", "8 bits"]),
        (break_pipe, ValueError, ["bee/pipe.png is no regular file", "remove"]),
        (break_socket, ValueError, ["bee/socket.png is no regular file", "remove"]),
        (break_device, ValueError, ["bee/zero.png is no regular file", "remove"]),
        (break_link, ValueError, ["bee/gone.png is no regular file", "remove"]),
        (break_loop, OSError, ["cannot read", "bee/loop.png"]),
        (break_large, ValueError, ["bee/3.png has 64 MiB", "save it smaller"]),
        (break_sizes, ValueError, ["ant/0.png is 5x4", "cow/1.png is 9x8", "data.size=32"]),
    ],
)
def test_faults_are_named_in_one_line(root, damage, kind, parts):
    damage(root)
    with pytest.raises(kind) as caught:
        image_folder(root)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in parts), message


@pytest.mark.parametrize("part", ["test", "test/cow"])
def test_folders_that_the_system_refuses_are_named(root, monkeypatch, part):
    def refuse(path, scandir=os.scandir):
        if Path(path) == root / part:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match=f"^cannot read {root / part}: Permission denied: make it readable"):
        image_folder(root)


@pytest.mark.parametrize("size", ["train_size", "test_size"])
def test_a_subset_without_an_image_of_every_class_is_refused(root, size):
    with pytest.raises(ValueError, match=r"ask for 3 \(one a class\) .*data\.train_size, .*data\.test_size"):
        image_folder(root, **{size: 2})


def test_root_is_needed():
    with pytest.raises(ValueError, match=r"data\.root=DIR"):
        load("images")


@pytest.mark.images
@pytest.mark.skipif("LAZYTORCH_CIFAR_IMAGES" not in os.environ, reason="LAZYTORCH_CIFAR_IMAGES is not set")
def test_real_images():
    train, test = load("images", os.environ["LAZYTORCH_CIFAR_IMAGES"], train_size=500, test_size=100)
    assert train.images.shape == (500, 3, 32, 32) and test.images.shape == (100, 3, 32, 32)
    assert train.labels.bincount().tolist() == [50] * 10 and test.labels.bincount().tolist() == [10] * 10
    assert train.classes[0] == "airplane" and train.classes[9] == "truck"
    assert len({image.numpy().tobytes() for image in train.images}) == 500
