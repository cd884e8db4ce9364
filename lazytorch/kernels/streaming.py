"""A kernel in a memory-mapped .npy file, beside which a record says what computation it is and which tiles are done.

The record is a text file: a line that identifies the computation, then one for every finished tile, with its number and
the digest of its values. The values are on disk before the line is, so a computation that was killed goes on where it
stopped; and values that have been overwritten since are noticed, and computed again.
"""

import hashlib
import io
import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from ..runs.file_lock import claim, let_go

log = logging.getLogger(__name__)
POLL = 0.1  # seconds

#: Rows and columns of a kernel.
Region = tuple[slice, slice]


class KernelFile:
    """The kernel of ``shape`` in the file ``path``; ``computation`` identifies it.

    ``regions`` has for every tile the parts of the kernel that are written with it. Several processes may write, of
    which one has called :meth:`begin`.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        computation: str,
        regions: Sequence[Sequence[Region]],
    ):
        self.path = Path(path)
        self.record = self.path.with_name(self.path.name + ".tiles")
        self.shape, self.dtype, self.computation = shape, torch.empty(0, dtype=dtype).numpy().dtype, computation
        self.regions = regions
        self._lock: io.FileIO | None = None

    def begin(self) -> list[int]:
        """The tiles that are to be computed, in order; the file is made if there is none.

        Waits for another process that is writing it, and keeps others out until :meth:`release`.

        Raises FileExistsError if the file or its record belongs to another computation, or the file has been cut.
        """
        if self.path.exists() and not self.record.exists():
            self.refuse()
        self._acquire()
        digests = self._read_record()
        if not digests:  # after the record: a kill in between leaves what can go on
            np.lib.format.open_memmap(self.path, "w+", self.dtype, self.shape).flush()
        damaged = self._damaged(digests)
        if damaged:
            log.warning(
                "%s: the values of %d finished tiles are not those that were written; they are computed again",
                self.path,
                len(damaged),
            )
        return sorted(set(range(len(self.regions))) - digests.keys() | damaged)

    def check(self) -> None:
        """Raise RuntimeError unless every tile is there, as it was written."""
        digests = self._read_record()
        if len(digests) < len(self.regions) or self._damaged(digests):
            raise RuntimeError(
                f"{self.path} has been changed while it was written: look for another program that writes to it, and "
                "at the disk; call again to compute those tiles again"
            )

    def refuse(self) -> NoReturn:
        """Raise FileExistsError, for another computation."""
        raise FileExistsError(
            f"{self.path} and {self.record.name} are not of this computation (network, weights, inputs, kind, "
            f"max_memory and number of processes): delete them or give another file"
        )

    def open(self) -> np.memmap:
        """The values, to be written to.

        Raises FileExistsError unless the file has the shape, the type and the size of the kernel.
        """
        try:
            values = np.lib.format.open_memmap(self.path, "r")  # "r+" would lengthen a file that has been cut
        except Exception as error:  # of any kind: numpy interprets whatever the file begins with
            raise self._changed() from error
        size = values.offset + values.nbytes
        layout = (values.shape, values.dtype, values.flags.c_contiguous, self.path.stat().st_size)
        if layout != (self.shape, self.dtype, True, size):
            raise self._changed()
        return np.lib.format.open_memmap(self.path, "r+")

    def finish(self, values: np.memmap, tile: int) -> None:
        """Note that a tile has been written."""
        values.flush()
        self._append(f"{tile} {self._digest(values, tile)}")

    def load(self) -> Tensor:
        """The kernel as a tensor that is read from the file when it is used; writing to it leaves the file as it is."""
        return torch.from_numpy(np.load(self.path, mmap_mode="c"))

    def release(self) -> None:
        """Let other processes write."""
        if self._lock is not None:
            let_go(self._lock)
            self._lock.close()
            self._lock = None

    def _acquire(self) -> None:
        self._lock = io.FileIO(self.record, "r+", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))
        if not claim(self._lock):
            log.warning("%s is being written by another process, which this one waits for", self.path)
            while not claim(self._lock):
                time.sleep(POLL)

    def _read_record(self) -> dict[int, str]:
        """The digests of the finished tiles; a new record is begun if there is none."""
        lines = self.record.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]  # not one that a kill cut off
        if whole[:1] != [self.computation.encode() + b"\n"] if whole else self.path.exists():
            self.refuse()
        entries = [line.decode(errors="replace").split() for line in whole[1:]]
        if not all(len(entry) == 2 and entry[0].isdecimal() and int(entry[0]) < len(self.regions) for entry in entries):
            self.refuse()
        if whole != lines:
            os.truncate(self.record, sum(map(len, whole)))
        if not whole:
            self._append(self.computation)
        return {int(number): digest for number, digest in entries}

    def _damaged(self, digests: dict[int, str]) -> set[int]:
        """The finished tiles whose values are not those that were written."""
        values = self.open()
        return {tile for tile, digest in digests.items() if self._digest(values, tile) != digest}

    def _digest(self, values: np.memmap, tile: int) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for region in self.regions[tile]:
            digest.update(np.ascontiguousarray(values[region]).data)
        return digest.hexdigest()

    def _changed(self) -> FileExistsError:
        return FileExistsError(
            f"{self.path} is not the file that {self.record.name} tells of: it has been cut, replaced or removed; "
            f"delete both or give another file"
        )

    def _append(self, line: str) -> None:
        with open(self.record, "a") as record:
            record.write(line + "\n")
            record.flush()
            os.fsync(record.fileno())


def identify(settings: object, tensors: Iterable[Tensor] = ()) -> str:
    """sha256 of the settings as text and of the tensors' types, shapes and values."""
    digest = hashlib.sha256(repr(settings).encode())
    for tensor in tensors:
        digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
