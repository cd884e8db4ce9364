"""The tiles of a kernel, one after another."""

import torch
from torch import Tensor

from .features import features
from .plan import Plan, Tile
from .recording import Network


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
        """All of it, in memory."""
        kernel = torch.zeros(self.shape, dtype=self.network.dtype, device=self.network.device)
        for tile in self.plan.tiles():
            self.write(kernel, tile)
        self._held = None
        return kernel

    def write(self, kernel, tile: Tile) -> None:
        """Compute a tile and enter it, and its mirror image if the kernel is symmetric."""
        values = self.tile(tile)
        rows, columns = _slice(tile.rows), _slice(tile.columns)
        kernel[rows, columns] = values
        if self.plan.symmetric:
            kernel[columns, rows] = values.transpose(0, 1).mT if self.plan.kind == "full" else values.transpose(0, 1)

    def tile(self, tile: Tile) -> Tensor:
        """(rows, columns, ...) of the kernel; of a symmetric one exactly symmetric where it meets the diagonal."""
        plan, n1, n2 = self.plan, len(tile.rows), len(tile.columns)
        values = torch.zeros((n1, n2, *self.shape[2:]), dtype=self.network.dtype, device=self.network.device)
        inside = plan.symmetric and tile.columns.start < tile.block.stop
        for outputs in plan.output_ranges():
            block = self._block(tile.block, outputs)
            left = _rows(block, range(n1))
            for others in plan.output_ranges() if plan.kind == "full" else [outputs]:
                if inside and others == outputs:
                    right = _rows(block, range(tile.columns.start - tile.block.start, tile.columns.stop - tile.block.start))
                else:
                    right = self._features(self.right, tile.columns, others)
                part = self._contract(left, right, n1, n2, outputs, others)
                if plan.kind == "full":
                    values[:, :, _slice(outputs), _slice(others)] = part[0].transpose(1, 2)
                elif plan.kind == "trace":
                    values += part[0, :, 0, :, 0]
                else:
                    values[:, :, _slice(outputs)] = part[:, :, 0, :, 0].permute(1, 2, 0)
        if inside:
            square = values[-n2:]
            mirrored = square.transpose(0, 1)
            square.copy_((square + (mirrored.mT if plan.kind == "full" else mirrored)) / 2)
        return values

    def _contract(self, left, right, n1: int, n2: int, outputs: range, others: range) -> Tensor:
        kind = self.plan.kind
        repeats = len(outputs) if kind == "diagonal" else 1
        rows, columns = (len(outputs), len(others)) if kind == "full" else (1, 1)
        kernel = torch.zeros(repeats, n1, rows, n2, columns, dtype=self.network.dtype, device=self.network.device)
        for form, a, b in zip(self.plan.forms_for(outputs), left, right, strict=True):
            form.contract(a, b, kernel, self.plan.scratch)
        return kernel

    def _block(self, examples: range, outputs: range) -> list[list[Tensor]]:
        """The features of a block of rows, which are held until another is asked for."""
        key = (examples, outputs)
        if self._held is None or self._held[0] != key:
            self._held = None  # let go of the last before making room for the next
            self._held = (key, self._features(self.left, examples, outputs))
        return self._held[1]

    def _features(self, inputs, examples: range, outputs: range) -> list[list[Tensor]]:
        return features(self.network, self.plan, tuple(x[_slice(examples)] for x in inputs), outputs)


def _rows(features: list[list[Tensor]], examples: range) -> list[list[Tensor]]:
    return [[tensor[_slice(examples)] for tensor in tensors] for tensors in features]


def _slice(examples: range) -> slice:
    return slice(examples.start, examples.stop)
