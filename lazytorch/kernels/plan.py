"""How a kernel will be computed: a contraction for every parameter, and tiles that fit in memory.

The features of a block of rows are held while those of one column block after another are computed and contracted with
them. Larger blocks mean fewer passes through the network; so the contractions are chosen for the least work in all, of
products and of passes, that features of their size allow.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from .contractions import ELEMENTWISE, FORMS, Contraction, ParameterSpace
from .inspection import Findings

#: Blocks of rows hold at most so many times more examples than blocks of columns.
COLUMNS = 8


class Tile(NamedTuple):
    """Rows and columns of the kernel, ranges of examples; if ``diagonal`` the same, with entries (i, j) and (j, i)."""

    rows: range
    columns: range
    diagonal: bool

    @property
    def pairs(self) -> int:
        """Pairs of examples to be computed."""
        n = len(self.rows)
        return n * (n + 1) // 2 if self.diagonal else n * len(self.columns)

    @property
    def sides(self) -> int:
        """Examples whose features are needed."""
        return len(self.rows) + (0 if self.diagonal else len(self.columns))

    def beginning(self) -> "Tile":
        """Its first examples, up to three."""
        return Tile(self.rows[:3], self.columns[:3], self.diagonal)


@dataclass(frozen=True)
class Plan:
    """How a kernel will be computed. ``str(plan)`` shows it.

    ``forms`` and ``findings.parameters`` belong together; ``block`` and ``columns`` are numbers of examples held for
    rows and for columns, ``chunk`` of those in one pass through the network; ``outputs`` is how many are worked on at
    once, ``scratch`` in numbers, ``memory`` in bytes.
    """

    kind: str
    n1: int
    n2: int
    symmetric: bool
    findings: Findings
    forms: tuple[Contraction, ...]
    block: int
    columns: int
    chunk: int
    outputs: int
    scratch: int
    memory: int
    itemsize: int

    def tiles(self) -> list[Tile]:
        """All tiles; of a symmetric kernel those on and above the diagonal."""
        return list(self._tiles())

    def _tiles(self) -> Iterator[Tile]:
        for start in range(0, self.n1, self.block):
            rows = range(start, min(start + self.block, self.n1))
            if self.symmetric:
                yield Tile(rows, rows, True)
            for first in range(rows.stop if self.symmetric else 0, self.n2, self.columns):
                yield Tile(rows, range(first, min(first + self.columns, self.n2)), False)

    def output_ranges(self) -> list[range]:
        """The outputs in the groups that are worked on at once."""
        total = self.findings.outputs
        return [range(k, min(k + self.outputs, total)) for k in range(0, total, self.outputs)]

    def forms_for(self, outputs: range) -> list[Contraction]:
        """The contractions for a group of outputs."""
        pairs = zip(self.forms, self.findings.parameters, strict=True)
        return [type(form)(parameter, self.kind, len(outputs)) for form, parameter in pairs]

    def passes(self) -> int:
        """Examples that go through the network, each forward once and backward for every output; repeats counted."""
        tiles, groups = self.tiles(), len(self.output_ranges())
        columns = sum(len(tile.columns) for tile in tiles if not tile.diagonal)
        if groups == 1:
            return sum(len(rows) for rows in {tile.rows for tile in tiles}) + columns
        # With several groups of outputs blocks are single examples, and only rows are held from one group to the next.
        again = groups if self.kind == "full" else 1
        return sum(len(tile.rows) + again * len(tile.columns) for tile in tiles)

    def multiply_adds(self, elementwise: int = 0) -> int:
        """Of contractions and passes; each element of an intermediate result counts as ``elementwise``."""
        tiles, groups = self.tiles(), len(self.output_ranges())
        repeats = groups**2 if self.kind == "full" else groups
        pairs = repeats * sum(tile.pairs for tile in tiles)
        sides = repeats * sum(tile.sides for tile in tiles)
        contraction = sum(pairs * form.per_pair(elementwise) + sides * form.per_side() for form in self.forms)
        features = elementwise * sum(form.floats() for form in self.forms)
        return contraction + self.passes() * (self.pass_multiply_adds() + features)

    def pass_multiply_adds(self) -> int:
        """Of one example: forward, backward for every output and once to check layouts, and its features."""
        findings = self.findings
        network = (findings.forward_flops + (findings.outputs + 1) * findings.backward_flops) // 2
        return network + sum(form.per_example() for form in self.forms)

    def __str__(self) -> str:
        tiles = self.tiles()
        pairs, sides = sum(tile.pairs for tile in tiles), sum(tile.sides for tile in tiles)
        n2 = f"x {self.n2}" if not self.symmetric else "symmetric"
        lines = [
            f"{self.kind} kernel, {self.n1} {n2}, {self.findings.outputs} outputs ({len(self.output_ranges())} groups)",
            f"tiles: {len(tiles)}, of {self.block} rows and {self.columns} columns; {self.chunk} examples in a pass",
            f"memory: {self.memory / 2**20:.0f} MiB; features {self.feature_bytes() / 2**20:.2f} MiB for an example",
            f"passes: {self.passes()} examples, {2e-9 * self.passes() * self.pass_multiply_adds():.3g} GFLOP",
            f"all: {2e-9 * self.multiply_adds():.3g} GFLOP",
            f"{'parameter':40s} {'contraction':16s} {'uses':>4s} {'positions':>9s} {'KiB/example':>12s} {'GFLOP':>9s}",
        ]
        for parameter, form in zip(self.findings.parameters, self.forms, strict=True):
            how = form.name if parameter.uses else "differentiation"
            positions = max((use.positions for use in parameter.uses), default=0)
            size = form.floats() * self.itemsize / 1024
            cost = 2e-9 * (pairs * form.per_pair() + sides * form.per_side())
            lines.append(
                f"{parameter.name:40s} {how:16s} {len(parameter.uses):4d} {positions:9d} {size:12.1f} {cost:9.3g}"
            )
        return "\n".join(lines)

    def feature_bytes(self) -> int:
        """Bytes of all features of an example."""
        return sum(form.floats() for form in self.forms) * self.itemsize


def make_plan(findings: Findings, kind: str, n1: int, n2: int | None, memory: int, itemsize: int, workers: int) -> Plan:
    """The plan of least work within ``memory`` bytes; ``n2`` None means the symmetric kernel.

    Raises ValueError if not even one example fits.
    """
    outputs, case = findings.outputs, (findings, kind, n1, n2, itemsize, workers)
    while (plan := _best(*case, memory, outputs)) is None:
        if outputs == 1:
            enough = memory
            while _best(*case, enough, 1) is None:
                enough *= 2
            raise ValueError(
                f"max_memory of {memory} bytes is too small for one example: give {enough / 2**20:.3g} MiB"
            )
        outputs = -(-outputs // 2)
    return plan


def _best(findings, kind, n1, n2, itemsize, workers, memory, outputs) -> Plan | None:
    """Of the plans with features ever smaller; None if not one fits."""
    prices = (0.0, *(4.0**i for i in range(-4, 12)))
    plans = [_plan(findings, kind, n1, n2, itemsize, workers, memory, outputs, price) for price in prices]
    fitting = [plan for plan in plans if plan is not None]
    return min(fitting, key=lambda plan: plan.multiply_adds(ELEMENTWISE)) if fitting else None


def _plan(findings, kind, n1, n2, itemsize, workers, memory, outputs, price) -> Plan | None:
    """With the contractions that cost least if each number of the features costs ``price`` multiply-adds a pair."""
    share = memory // 8  # for passes, and for intermediate results; features have the rest
    scratch = share // itemsize
    sides = (n1 + (n2 or 0)) / (n1 * (n2 or (n1 + 1) / 2))
    forms = tuple(_cheapest(p, kind, outputs, scratch, price, sides) for p in findings.parameters)
    alone, one_pass = (2 * findings.saved + itemsize * _pass_floats(findings, sets) for sets in (1, 2))
    features = itemsize * sum(form.floats() for form in forms)
    room = (memory - max(share, alone) - share) // max(features, 1)
    symmetric, n2 = n2 is None, n1 if n2 is None else n2
    pairs = scratch // (3 * findings.outputs ** {"full": 2, "trace": 0, "diagonal": 1}[kind])
    largest = min(math.isqrt(pairs), -(-n1 // workers))
    if symmetric and outputs == findings.outputs and min(room, largest) >= n1:
        block = columns = n1
    elif room < 2:
        return None
    elif outputs < findings.outputs:
        block = columns = 1
    else:
        block = _even(n1, min(room * COLUMNS // (COLUMNS + 1), largest))
        columns = _even(n2, min(room - block, pairs // block))
    chunk = min(max(1, share // max(one_pass, 1)), max(block, columns))
    return Plan(kind, n1, n2, symmetric, findings, forms, block, columns, chunk, outputs, scratch, memory, itemsize)


def _pass_floats(findings: Findings, sets: int) -> int:
    """Numbers that one example takes beside what is saved: operands, and cotangents, two sets to check layouts.

    And a layer's temporaries: padded inputs, cotangents on their way.
    """
    uses = [use for parameter in findings.parameters for use in parameter.uses]
    matrices = [use for use in uses if use.kind != "vector"]
    calls = {use.call for use in matrices}
    vectors = {use.call: use for use in uses if use.call not in calls}
    operands = sum(use.groups * use.positions * use.inputs for use in matrices)
    cotangents = sum(use.groups * use.positions * use.outputs for use in (*matrices, *vectors.values()))
    others = sum(2 * parameter.size for parameter in findings.parameters if not parameter.uses)
    temporaries = max((use.groups * use.positions * (use.inputs + use.outputs) for use in uses), default=0)
    return operands + sets * cotangents + others + temporaries


def _even(n: int, largest: int) -> int:
    """The size of the fewest equal parts of n that are not larger than ``largest``."""
    return -(-n // -(-n // max(1, largest)))


def _cheapest(parameter, kind, outputs, scratch, price, sides) -> Contraction:
    """The contraction of least work; ``sides``: examples in the rows and columns, for every pair of examples."""
    candidates = [form(parameter, kind, outputs) for form in FORMS]
    possible = [c for c in candidates if c.possible and (c.scratch() <= scratch or isinstance(c, ParameterSpace))]

    def cost(form: Contraction) -> float:
        forming = form.per_example() + form.per_side() + ELEMENTWISE * form.floats()
        return form.per_pair(ELEMENTWISE) + sides * forming + price * form.floats()

    return min(possible, key=cost)
