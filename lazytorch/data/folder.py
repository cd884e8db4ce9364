"""Any image set laid out as class folders: DIR/train/<class>/*, DIR/test/<class>/*."""

import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..progress import progress
from .decoding import EXTENSIONS, Findings, decode, readable
from .images import ImageSet
from .subset import balanced_subset

LAYOUT = "data.root must hold train/<class>/* and test/<class>/*"
MAX_BYTES = 64 * 2**20  # of an image file


def image_folder(
    root: str | Path | None,
    train_size: int | None = None,
    test_size: int | None = None,
    size: int | None = None,
    seed: int = 0,
) -> tuple[ImageSet, ImageSet]:
    """The training and test images of a class-folder set; only the images of the subsets are decoded.

    Classes are sorted by name. The images of a whole set come round robin, the first of each class, then the second, so
    that the first n are nearly class-balanced; subsets are ``balanced_subset``'s. If all images read are grey there is
    one channel, else three. With ``size``, images become size x size pixels (bilinear, antialiased); without it they
    must all have one size. Hidden files, and files whose names do not end as ``decoding.EXTENSIONS``, are ignored.

    EXIF orientations are applied, alpha channels composited on black, of animations the first frame is used, CMYK
    becomes RGB; how many images that and a changed aspect ratio concern is logged, in one warning each.

    Cost: about 0.2 ms for an image of 32x32 pixels; a progress bar on stderr from 5000 images on.

    Raises:
        FileNotFoundError: if a folder is missing.
        OSError: if the file system refuses to read a folder or a file.
        ValueError: if ``root`` is None, a folder is empty, the classes of train and test differ, an image is no regular
            file, is larger than 64 MiB or ``decoding.MAX_PIXELS``, or cannot be read, images differ in size, or a class
            is too small for its subset.
    """
    return read(choose(root, train_size, test_size, seed), size)


class Files(NamedTuple):
    """The image files of one part of a set, as (path, what changes when it is written to), and what they show."""

    files: tuple[tuple[str, tuple[int, ...]], ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]


def choose(root: str | Path | None, train_size: int | None, test_size: int | None, seed: int) -> tuple[Files, Files]:
    """The files of the training and of the test images, without opening them."""
    if root is None:
        raise ValueError(f"data=images needs a directory: set data.root=DIR ({LAYOUT})")
    root = Path(root).expanduser()
    train, test = _list_classes(root / "train"), _list_classes(root / "test")
    if train.keys() != test.keys():
        raise ValueError(
            f"the classes of train and test in {root} differ in {', '.join(sorted(train.keys() ^ test.keys()))}: "
            f"give both the same class folders"
        )
    return _choose(train, train_size, seed), _choose(test, test_size, seed)


def read(parts: tuple[Files, Files], size: int | None) -> tuple[ImageSet, ImageSet]:
    """The images of the two parts, alike in size and channels."""
    train, test = parts
    images = _read([file for part in parts for file, _ in part.files], size).split([len(p.files) for p in parts])
    train, test = (ImageSet(x, torch.tensor(p.labels), p.classes) for x, p in zip(images, parts, strict=True))
    return train, test


def _list_classes(folder: Path) -> dict[str, list[os.DirEntry]]:
    with readable(folder):
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}: {LAYOUT}")
        classes = {entry.name: _list_images(entry.path) for entry in _entries(folder) if entry.is_dir()}
    if not classes:
        raise ValueError(f"{folder} has no class folders: {LAYOUT}")
    return classes


def _list_images(folder: str) -> list[os.DirEntry]:
    with readable(folder):
        files = [entry for entry in _entries(folder) if entry.name.lower().endswith(EXTENSIONS)]
    if not files:
        raise ValueError(f"{folder} has no images ({' '.join(EXTENSIONS)}): add some or remove the folder")
    for entry in files:
        with readable(entry.path):
            if not entry.is_file():  # reading a pipe or a device may never end
                raise ValueError(f"{entry.path} is no regular file, nor a link to one: remove or rename it")
    return files


def _entries(folder: str | Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)


def _choose(classes: dict[str, list[os.DirEntry]], size: int | None, seed: int) -> Files:
    turns = sorted((turn, label) for label, files in enumerate(classes.values()) for turn in range(len(files)))
    labels = torch.tensor([label for _, label in turns])
    lists = list(classes.values())
    chosen = [turns[i] for i in balanced_subset(labels, size, seed).tolist()]
    files = tuple((lists[label][turn].path, _state(lists[label][turn])) for turn, label in chosen)
    return Files(files, tuple(label for _, label in chosen), tuple(classes))


def _state(entry: os.DirEntry) -> tuple[int, ...]:
    with readable(entry.path):
        status = entry.stat()
    if status.st_size > MAX_BYTES:
        raise ValueError(
            f"the image {entry.path} has {status.st_size / 2**20:.0f} MiB, more than {MAX_BYTES // 2**20}: "
            f"save it smaller or remove it"
        )
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(files: list[str], size: int | None) -> Tensor:
    findings = Findings()
    images = [decode(file, size, findings) for file in progress(files, "images")]
    findings.say(len(files))
    for file, image in zip(files, images, strict=True):
        if image.shape[1:] != images[0].shape[1:]:
            (h0, w0), (h, w) = images[0].shape[1:], image.shape[1:]
            raise ValueError(
                f"images differ in size: {files[0]} is {w0}x{h0} pixels, {file} is {w}x{h}: "
                f"resize them all on loading, for example data.size=32"
            )
    channels = max(len(image) for image in images)
    return torch.stack([image.expand(channels, -1, -1) for image in images])
