"""The tiles of a kernel, one after another."""

import os
import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..progress import LateBar
from .features import features
from .plan import Plan, Tile
from .recording import Network
from .streaming import KernelFile, Region, identify
from .workers import Workers


class Kernel:
    """The kernel of ``network`` between the examples ``left`` and ``right`` (None: between those of ``left``)."""

    def __init__(
        self,
        network: Network,
        plan: Plan,
        left: tuple[Tensor, ...],
        right: tuple[Tensor, ...] | None,
        workers: Workers,
    ):
        self.network, self.plan, self.workers = network, plan, workers
        self.left, self.right = left, left if right is None else right
        self._held: tuple[tuple, list] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the whole kernel."""
        outputs = {"full": 2, "trace": 0, "diagonal": 1}[self.plan.kind] * (self.plan.findings.outputs,)
        return (self.plan.n1, self.plan.n2, *outputs)

    def compute(self) -> Tensor:
        """All of it, in memory; every process of a group computes its share and has the whole."""
        with self.workers.together():
            kernel = self.network.zeros(*self.shape)
            for _, tile in self._progress(self.workers.share(dict(enumerate(self.plan.tiles())))):
                self.write(kernel, tile)
        return self.workers.add_up(kernel)

    def stream(self, path: str | os.PathLike) -> Tensor:
        """Into a file, without the tiles that it has already; returns a tensor that is read from the file."""
        regions, first = [self._regions(tile) for tile in self.plan.tiles()], self.workers.rank == 0
        file = KernelFile(path, self.shape, self.network.dtype, identify(self.description()), regions)
        try:
            with self.workers.together():
                numbers = self._begin(file) if first else None
            if numbers := self.workers.from_first(numbers):
                with self.workers.together():
                    self._enter(file, numbers)
                with self.workers.together():
                    if first:
                        file.check()
            return file.load()
        finally:
            file.release()

    def _begin(self, file: KernelFile) -> list[int]:
        """The numbers of the tiles that the file has not."""
        numbers = file.begin()
        done = set(range(len(file.regions))) - set(numbers)
        if done and not self._agrees(file.open(), self.plan.tiles()[min(done)]):
            file.refuse()
        return numbers

    def _enter(self, file: KernelFile, numbers: list[int]) -> None:
        """Compute this process's share of the tiles with these numbers."""
        tiles, values = self.plan.tiles(), file.open()
        for number, tile in self._progress(self.workers.share({number: tiles[number] for number in numbers})):
            self.write(values, tile)
            file.finish(values, number)

    def write(self, kernel: Tensor | np.ndarray, tile: Tile) -> None:
        """Compute a tile and enter it, and its mirror image if the kernel is symmetric."""
        values = self.tile(tile)
        if isinstance(kernel, np.ndarray):
            values = values.cpu()
        for region, part in zip(self._regions(tile), (values, self._mirrored(values)), strict=False):
            kernel[region] = part

    def _regions(self, tile: Tile) -> list[Region]:
        """Where a tile goes in the kernel, and its mirror image if there is one."""
        rows, columns = _slice(tile.rows), _slice(tile.columns)
        return [(rows, columns), (columns, rows)] if self.plan.symmetric and not tile.diagonal else [(rows, columns)]

    def tile(self, tile: Tile) -> Tensor:
        """(rows, columns, ...) of the kernel; exactly symmetric on the diagonal."""
        kind, groups = self.plan.kind, self.plan.output_ranges()
        values = self.network.zeros(len(tile.rows), len(tile.columns), *self.shape[2:])
        for outputs in groups:
            left = self._rows(tile.rows, outputs)
            for others in groups if kind == "full" else [outputs]:
                same = tile.diagonal and others == outputs
                right = left if same else self._features(self.right, tile.columns, others)
                part = self._contract(left, right, tile, outputs, others, same)
                if kind == "full":
                    values[:, :, _slice(outputs), _slice(others)] = part[0].transpose(1, 2)
                elif kind == "trace":
                    values += part[0, :, 0, :, 0]
                else:
                    values[:, :, _slice(outputs)] = part[:, :, 0, :, 0].permute(1, 2, 0)
        return self._symmetrised(values) if tile.diagonal else values

    def _symmetrised(self, values: Tensor) -> Tensor:
        """The pairs i < j mirrored, and the mean of each pair (i, i) and its mirror image."""
        n = len(values)
        weight = torch.ones(n, n, dtype=values.dtype, device=values.device).triu()
        weight.diagonal().mul_(0.5)
        values.mul_(weight.view(n, n, *(1,) * (values.dim() - 2)))
        return values + self._mirrored(values)

    def _mirrored(self, values: Tensor) -> Tensor:
        return values.transpose(0, 1).mT if self.plan.kind == "full" else values.transpose(0, 1)

    def _contract(self, left, right, tile: Tile, outputs: range, others: range, symmetric: bool) -> Tensor:
        kind = self.plan.kind
        rows, columns = (len(outputs), len(others)) if kind == "full" else (1, 1)
        repeats = len(outputs) if kind == "diagonal" else 1
        kernel = self.network.zeros(repeats, len(tile.rows), rows, len(tile.columns), columns)
        for form, first, second in zip(self.plan.forms_for(outputs), left, right, strict=True):
            form.contract(first, second, kernel, self.plan.scratch, symmetric)
        return kernel

    def _rows(self, examples: range, outputs: range) -> list[list[Tensor]]:
        """The features of a block of rows, which are held until another is asked for."""
        key = (examples, outputs)
        if self._held is None or self._held[0] != key:
            self._held = None  # let go of the last before making room for the next
            self._held = (key, self._features(self.left, examples, outputs))
        return self._held[1]

    def _progress(self, tiles: dict[int, Tile]) -> Iterator[tuple[int, Tile]]:
        """The tiles, with a bar on stderr that counts pairs of examples, if it takes more than a few seconds."""
        total = sum(tile.pairs for tile in tiles.values())
        with LateBar(desc="kernel", total=total, unit="pair", disable=self.workers.rank > 0) as bar:
            for number, tile in tiles.items():
                yield number, tile
                bar.update(tile.pairs)
        self._held = None

    def description(self) -> dict[str, str]:
        """What identifies the computation, by the arguments that it comes from."""
        network = self.network
        modules = [type(module).__qualname__ for module in network.net.modules()]
        written = re.sub("0x[0-9a-f]+", "", repr(network.net))  # without addresses
        return {
            "net": identify((modules, written, list(network.parameters))),
            "weights": identify((), (*network.parameters.values(), *network.constants.values())),
            "x1": identify((), self.left),
            "x2": "None" if self.plan.symmetric else identify((), self.right),
            "kind": self.plan.kind,
            "tiles": identify(self.plan.tiles()),
        }

    def check_alike(self, file: str | os.PathLike | None) -> None:
        """Raise ValueError, in every process, unless all compute the same kernel for the same ``file``."""
        with self.workers.together():
            path = None if file is None else os.path.abspath(file)
            mine = self.description() | {"max_memory": self.plan.memory, "file": path}
            beginning = self.tile(self.plan.tiles()[0].beginning())
        descriptions = self.workers.gather((mine, beginning.norm().item()))
        first, _ = descriptions[0]
        differing = [name for name in first if any(other[name] != first[name] for other, _ in descriptions)]
        # What a forward method computes is in no description.
        sizes = torch.tensor([other for _, other in descriptions], dtype=self.network.dtype)
        if not _close(sizes, sizes[0].expand_as(sizes)):
            differing = differing or ["net"]
        if differing:
            raise ValueError(
                f"the processes of the group differ in {', '.join(differing)}: give all the same, or group=None for a "
                "kernel of each process's own"
            )

    def _agrees(self, kernel: np.ndarray, tile: Tile) -> bool:
        """Whether ``kernel`` has the first examples of a finished tile; not so if a forward method has changed."""
        beginning = tile.beginning()
        found = torch.from_numpy(kernel[_slice(beginning.rows), _slice(beginning.columns)])
        return _close(found, self.tile(beginning).cpu())

    def _features(self, inputs, examples: range, outputs: range) -> list[list[Tensor]]:
        return features(self.network, self.plan, tuple(x[_slice(examples)] for x in inputs), outputs)


def _slice(examples: range) -> slice:
    return slice(examples.start, examples.stop)


def _close(found: Tensor, expected: Tensor) -> bool:
    """Whether they are equal but for rounding."""
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * expected.nan_to_num(0, 0, 0).abs().amax().item()
    return torch.allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True)
