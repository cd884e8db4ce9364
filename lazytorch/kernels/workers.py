"""The processes that share a kernel under torch.distributed; without it there is one."""

from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

from .plan import Tile

Result = TypeVar("Result")


def _running() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """This process, from 0."""
    return dist.get_rank() if _running() else 0


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _running() else 1


def share(tiles: dict[int, Tile]) -> dict[int, Tile]:
    """The tiles of this process: neighbours, so that few blocks of rows are needed, and an equal part of the work."""
    total, before, mine = sum(tile.pairs for tile in tiles.values()), 0, {}
    for number, tile in tiles.items():
        if (2 * before + tile.pairs) * count() // (2 * total) == rank():
            mine[number] = tile
        before += tile.pairs
    return mine


def add_up(kernel: Tensor) -> Tensor:
    """The sum over all processes, which have 0 where others have values."""
    if _running():
        dist.all_reduce(kernel)
    return kernel


def wait() -> None:
    """Until all processes are here."""
    if _running():
        dist.barrier()


def from_first(function: Callable[[], Result]) -> Result:
    """What ``function`` returns, or raises, in the first process, in all of them."""
    if not _running():
        return function()
    outcome: list = [None, None]
    if rank() == 0:
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error
    dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
