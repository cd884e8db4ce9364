"""The image sets by name."""

import os
from collections.abc import Callable
from pathlib import Path

from .cifar10 import FOLDER, cifar10
from .decoding import readable
from .digits import digits
from .folder import Files, choose, read
from .images import ImageSet
from .subset import balanced_subset

Pair = tuple[ImageSet, ImageSet]

KEPT = 2
_kept: dict[tuple, tuple[Pair, list[str]]] = {}  # the pairs loaded last, the latest at the end


def load(
    name: str,
    root: str | Path | None = None,
    train_size: int | None = None,
    test_size: int | None = None,
    size: int | None = None,
    seed: int = 0,
) -> Pair:
    """Training and test images of ``digits``, ``images`` (class folders in ``root``) or ``cifar10`` (in ``root``).

    ``train_size`` and ``test_size`` ask for class-balanced subsets drawn with ``seed``, None for the whole sets;
    ``size`` for images of size x size pixels.

    The two pairs loaded last are kept: asked for again, with the files as they were, they come back at the cost of
    their fingerprints. So do not write into the images; a pair that has been written into is read anew.

    Raises:
        ValueError: if the name is unknown, ``size`` is not positive, or a subset too small or too large.
        FileNotFoundError, OSError, RuntimeError, ValueError: what the set's own reader raises.
    """
    if size is not None and size < 1:
        raise ValueError(f"data.size={size} is no side in pixels: give 1 or more, or null for the images' own")
    if name == "images":
        return _keep(_read_folder, choose(root, train_size, test_size, seed), size)
    if name not in ("digits", "cifar10"):
        raise ValueError(f"unknown image set {name!r}: choose digits, images or cifar10")
    files = _official_files(root) if name == "cifar10" else ()
    return _keep(_read_set, name, root, files, train_size, test_size, size, seed)


def _keep(reader: Callable[..., Pair], *arguments) -> Pair:
    """What ``reader`` returns, or did for the same arguments, if nobody has written into that since."""
    key = (reader, *arguments)
    kept = _kept.pop(key, None)
    if kept is None or _fingerprints(kept[0]) != kept[1]:
        while len(_kept) >= KEPT:  # make room first
            _kept.pop(next(iter(_kept)))
        pair = reader(*arguments)
        kept = pair, _fingerprints(pair)
    _kept[key] = kept
    return kept[0]


def _fingerprints(pair: Pair) -> list[str]:
    return [images.fingerprint() for images in pair]


def _read_folder(parts: tuple[Files, Files], size: int | None) -> Pair:
    return read(parts, size)


def _read_set(name, root, files, train_size, test_size, size, seed) -> Pair:
    train, test = digits() if name == "digits" else cifar10(root)
    return _subset(train, train_size, size, seed), _subset(test, test_size, size, seed)


def _subset(images: ImageSet, count: int | None, size: int | None, seed: int) -> ImageSet:
    chosen = images if count is None else images.select(balanced_subset(images.labels, count, seed))
    return chosen if size is None else chosen.resize(size)


def _official_files(root: str | Path | None) -> tuple:
    """Where CIFAR-10's files are, and what changes when they are written to."""
    folder = Path(root or ".").expanduser().absolute() / FOLDER
    if root is None or not folder.is_dir():
        return (folder,)
    with readable(folder), os.scandir(folder) as entries:
        states = [(entry.name, entry.stat()) for entry in entries]
    return folder, *sorted((name, status.st_size, status.st_mtime_ns) for name, status in states)
