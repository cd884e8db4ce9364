"""The processes that share a kernel."""

from __future__ import annotations

from ..processes import Processes
from .plan import Tile


class Workers(Processes):
    """The members of a process group, or this process alone, and the tiles of each."""

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
