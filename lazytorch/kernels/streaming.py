"""A kernel in a memory-mapped .npy file, beside which a record says what computation it is and which tiles are done.

The record is a text file: a line that identifies the computation, then the number of every finished tile. A tile's
values are on disk before its number is, so a computation that was killed goes on where it stopped.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor


class KernelFile:
    """The kernel of ``shape`` in the file ``path``; ``computation`` identifies it. Several processes may write."""

    def __init__(self, path: str | os.PathLike, shape: tuple[int, ...], dtype: torch.dtype, computation: str):
        self.path = Path(path)
        self.record = self.path.with_name(self.path.name + ".tiles")
        self.shape, self.dtype, self.computation = shape, torch.empty(0, dtype=dtype).numpy().dtype, computation

    def create(self) -> set[int]:
        """The tiles that are done; the file is made if there is none.

        Raises FileExistsError if the file or its record belongs to another computation.
        """
        lines = self.record.read_text().splitlines(keepends=True) if self.record.exists() else []
        whole = [line for line in lines if line.endswith("\n")]  # not one that a kill cut off
        if whole[:1] != [self.computation + "\n"] if whole else self.path.exists():
            self.refuse()
        done = {int(line) for line in whole[1:]}
        if done and not self.path.exists():
            self.refuse()
        if whole != lines:
            os.truncate(self.record, sum(map(len, whole)))
        if not whole:
            self._append(self.computation)
        if not done:  # after the record: a kill in between leaves what can go on
            np.lib.format.open_memmap(self.path, "w+", self.dtype, self.shape).flush()
        return done

    def refuse(self) -> NoReturn:
        """Raise FileExistsError."""
        raise FileExistsError(
            f"{self.path} and {self.record.name} are not of this computation (network, weights, inputs, kind and "
            f"max_memory): delete them or give another file"
        )

    def open(self) -> np.memmap:
        """The values, to be written to."""
        return np.lib.format.open_memmap(self.path, "r+")

    def finish(self, values: np.memmap, tile: int) -> None:
        """Note that a tile has been written."""
        values.flush()
        self._append(str(tile))

    def load(self) -> Tensor:
        """The kernel as a tensor that is read from the file when it is used; writing to it leaves the file as it is."""
        return torch.from_numpy(np.load(self.path, mmap_mode="c"))

    def _append(self, line: str) -> None:
        with open(self.record, "a") as record:
            record.write(line + "\n")
            record.flush()
            os.fsync(record.fileno())


def identify(settings: object, tensors: Iterable[Tensor]) -> str:
    """sha256 of the settings as text and of the tensors' types, shapes and values."""
    digest = hashlib.sha256(repr(settings).encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
