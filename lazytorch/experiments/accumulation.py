"""A long sum, kept on the disk now and then, so that a killed process loses little of it."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from ..progress import bar
from ..runs import write_atomically
from ..training.state import check_archive

Part = TypeVar("Part")


def accumulate(
    total: Tensor, parts: Sequence[Part], add: Callable[[Part], None], path: Path, seconds: float, what: str
) -> None:
    """``add(part)`` for each of ``parts``, in order, which adds to ``total`` in place; a bar counts them as ``what``.

    Whenever ``seconds`` have gone by, ``total`` and how many parts it has are written to ``path``, whole or not at all.
    What is there is gone on with, to the same bits where ``add`` is deterministic. The file is the caller's to remove.
    Cost: of the disk the total's size, twice while it is replaced; of memory the total's size on the CPU where the sum
    is gone on with.

    Raises:
        ValueError: the file at ``path`` is damaged or of another sum.
        OSError: the disk is full or may not be written.
    """
    done = _restore(path, total)
    written = time.monotonic()
    for part in bar(parts[done:], desc=what, initial=done, total=len(parts)):
        add(part)
        done += 1
        if time.monotonic() - written >= seconds:
            record = {"total": total, "done": done}
            write_atomically(path, lambda file, record=record: torch.save(record, file))
            written = time.monotonic()


def _restore(path: Path, total: Tensor) -> int:
    """Fill ``total`` from the file, if there is one, and return how many parts it has."""
    if not path.is_file():
        return 0
    check_archive(path)
    record = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(record, dict) or getattr(record.get("total"), "shape", None) != total.shape:
        raise ValueError(f"checkpoint {path} is of another sum: delete it, and start again")
    total.copy_(record["total"])
    return record["done"]
