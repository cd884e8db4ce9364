"""What an experiment is given to run in: its directory, tables written part by part, a progress bar."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..progress import bar
from ..quantities import Quantity
from ..runs import RunDirectory, as_read, canonical

Item = TypeVar("Item")


@dataclass
class Run:
    """``problem``: what the experiment's ``problem`` built; ``prepared``: what its ``prepare`` returned.

    ``fingerprints``, of data, network and loss, are recorded: a run on others is refused. ``quantities`` are those that
    the experiment declares of its own. ``seed`` is that of what parts draw from torch's generators. ``is_first``:
    whether this process is the one that writes.
    """

    directory: RunDirectory
    problem: Any = None
    prepared: Any = None
    fingerprints: dict[str, str] = field(default_factory=dict)
    quantities: dict[str, Quantity] = field(default_factory=dict)
    seed: int = 0
    is_first: bool = True

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    def progress(self, items: Iterable[Item], what: str = "") -> Iterable[Item]:
        """``items``, with a bar on stderr that counts them."""
        return bar(items, desc=what or self.path.parent.name)

    def part(self, table: str, compute: Callable[[], dict | list[dict]], **keys: Any) -> list[dict]:
        """The rows of ``table`` (a .csv of the run) at ``keys``, computed and written unless they are there already.

        ``compute`` gives a row, or several, without ``keys``. The table is replaced whole, so that a run that is killed
        has every part that was finished, and goes on with the others. Torch's generators are seeded for each part, so
        that what it draws depends on the seed and the part alone.

        Raises:
            ValueError: a computed row has one of ``keys``.
        """
        if found := self._rows_at(table, keys):
            return found
        with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []):
            torch.manual_seed(_seed(self.seed, table, keys))
            computed = compute()
        computed = [computed] if isinstance(computed, dict) else list(computed)
        for name in keys.keys() & {name for row in computed for name in row}:
            raise ValueError(
                f"a row of {table} has {name}, which is what the part is known by: leave it out of the row"
            )
        self.directory.write_table(table, self.table(table) + [keys | row for row in computed])
        return self._rows_at(table, keys)

    def _rows_at(self, table: str, keys: dict) -> list[dict]:
        """The rows as they are read, so that the first run and one that goes on see the same values."""
        sought = {name: as_read(value) for name, value in keys.items()}
        return [row for row in self.table(table) if all(row.get(name) == value for name, value in sought.items())]

    def table(self, table: str) -> list[dict]:
        """The rows of a table so far."""
        return self.directory.table(table)


def _seed(seed: int, table: str, keys: dict) -> int:
    digest = hashlib.sha256(canonical([seed, table, keys]).encode()).digest()
    return int.from_bytes(digest[:7], "big")
