"""The tiles of a kernel, one after another."""

import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from . import workers
from .features import features
from .plan import Plan, Tile
from .recording import Network
from .streaming import KernelFile, identify


class Kernel:
    """The kernel of ``network`` between the examples ``left`` and ``right`` (None: between those of ``left``)."""

    def __init__(self, network: Network, plan: Plan, left: tuple[Tensor, ...], right: tuple[Tensor, ...] | None):
        self.network, self.plan = network, plan
        self.left, self.right = left, left if right is None else right
        self._held: tuple[tuple, list] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the whole kernel."""
        outputs = {"full": 2, "trace": 0, "diagonal": 1}[self.plan.kind] * (self.plan.findings.outputs,)
        return (self.plan.n1, self.plan.n2, *outputs)

    def compute(self) -> Tensor:
        """All of it, in memory; under torch.distributed each process computes its part and has the whole."""
        kernel = self.network.zeros(*self.shape)
        for _, tile in self._progress(workers.share(dict(enumerate(self.plan.tiles())))):
            self.write(kernel, tile)
        return workers.add_up(kernel)

    def stream(self, path) -> Tensor:
        """Into a file, without the tiles that it has already; returns a tensor that is read from the file."""
        file = KernelFile(path, self.shape, self.network.dtype, self._identity())
        done = workers.from_first(file.create)
        tiles = {number: tile for number, tile in enumerate(self.plan.tiles()) if number not in done}
        values = file.open()
        if done and not self._agrees(values, self.plan.tiles()[min(done)]):
            file.refuse()
        for number, tile in self._progress(workers.share(tiles)):
            self.write(values, tile)
            file.finish(values, number)
        workers.wait()
        return file.load()

    def write(self, kernel: Tensor | np.ndarray, tile: Tile) -> None:
        """Compute a tile and enter it, and its mirror image if the kernel is symmetric."""
        values = self.tile(tile)
        if isinstance(kernel, np.ndarray):
            values = values.cpu()
        rows, columns = _slice(tile.rows), _slice(tile.columns)
        kernel[rows, columns] = values
        if self.plan.symmetric and not tile.diagonal:
            kernel[columns, rows] = self._mirrored(values)

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
        with tqdm(desc="kernel", total=total, unit="pair", delay=3, disable=workers.rank() > 0) as bar:
            for number, tile in tiles.items():
                yield number, tile
                bar.update(tile.pairs)
        self._held = None

    def _agrees(self, kernel: np.ndarray, tile: Tile) -> bool:
        """Whether ``kernel`` has the first examples of a finished tile; not so if a forward method has changed."""
        rows, columns = tile.rows[:3], tile.columns[:3]
        values = self.tile(Tile(rows, columns, tile.diagonal)).cpu()
        found = torch.from_numpy(kernel[_slice(rows), _slice(columns)])
        tolerance = torch.finfo(values.dtype).eps ** 0.5 * values.abs().amax().item()
        return torch.allclose(found, values, rtol=0, atol=tolerance, equal_nan=True)

    def _identity(self) -> str:
        network = self.network
        modules = [type(module).__qualname__ for module in network.net.modules()]
        written = re.sub("0x[0-9a-f]+", "", repr(network.net))  # without addresses
        settings = (self.plan.kind, self.plan.symmetric, self.plan.tiles(), modules, written, list(network.parameters))
        return identify(settings, (*network.parameters.values(), *network.constants.values(), *self.left, *self.right))

    def _features(self, inputs, examples: range, outputs: range) -> list[list[Tensor]]:
        return features(self.network, self.plan, tuple(x[_slice(examples)] for x in inputs), outputs)


def _slice(examples: range) -> slice:
    return slice(examples.start, examples.stop)
