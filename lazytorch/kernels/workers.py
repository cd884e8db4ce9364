"""The processes that share a kernel: this one alone, or the members of a process group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

from .plan import Tile

Value = TypeVar("Value")

#: What an error of one process is in the others as well; any other is a RuntimeError there.
ALIKE = (ValueError, TypeError, FileExistsError)


class Workers:
    """The members of ``group``, or, for None, this process alone, whatever else runs under torch.distributed.

    Raises:
        ValueError: ``group`` is not one that this process is a member of.
    """

    def __init__(self, group: dist.ProcessGroup | None = None):
        if group is not None and not isinstance(group, dist.ProcessGroup):
            raise ValueError(
                f"group={group!r} is no torch.distributed.ProcessGroup that this process is a member of: give one, "
                "or None to compute alone"
            )
        self.group = group
        self.rank = 0 if group is None else dist.get_rank(group)
        self.count = 1 if group is None else dist.get_world_size(group)

    def share(self, tiles: dict[int, Tile]) -> dict[int, Tile]:
        """The tiles of this process: neighbours, so that few blocks of rows are needed, and an equal part of the work.

        The keys are the tiles' numbers.
        """
        total, before, mine = sum(tile.pairs for tile in tiles.values()), 0, {}
        for number, tile in tiles.items():
            if (2 * before + tile.pairs) * self.count // (2 * total) == self.rank:
                mine[number] = tile
            before += tile.pairs
        return mine

    def add_up(self, kernel: Tensor) -> Tensor:
        """The sum over all processes, which have 0 where others have values."""
        if self.group is not None:
            dist.all_reduce(kernel, group=self.group)
        return kernel

    def gather(self, value: Value) -> list[Value]:
        """The value of every process."""
        if self.group is None:
            return [value]
        values: list = [None] * self.count
        dist.all_gather_object(values, value, group=self.group)
        return values

    def from_first(self, value: Value) -> Value:
        """The value of the first process."""
        return self.gather(value)[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """If the block raises in one process, all raise at its end, and none waits for another in vain."""
        if self.group is None:
            yield
            return
        error = None
        try:
            yield
        except Exception as raised:
            error = raised
        kind = type(error) if type(error) in ALIKE else RuntimeError
        errors = self.gather(None if error is None else (kind, f"{type(error).__name__}: {error}"))
        if error is not None:
            raise error
        for rank, other in enumerate(errors):
            if other is not None:
                kind, message = other
                raise kind(f"process {rank} of the group: {message}")
