"""What the experiments on two-layer students have in common: their size, their precision, their draws, their tables."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import ClassVar

import torch
from torch import Tensor

from ..theory.students import stack_trials, symmetrised
from ..training.placement import find_device
from ..training.precision import data_type
from .experiment import Experiment
from .fields import key
from .run import Run


@dataclass(frozen=True)
class TeacherStudent(Experiment):
    """Students trained side by side, of ``trials`` teachers with data and weights of their own.

    A trial that diverges has infinite losses and the status diverged, and the others go on: figures leave it out of
    means and mark where it was.
    """

    dimension: int = key(100, "of the inputs, uniform on the unit sphere", at_least=1)
    trials: int = key(10, "teachers, each with data and initial weights of its own", at_least=1)
    steps: int = key(10_000, "of gradient descent", at_least=1)
    precision: str = key("float32", "float32 or float64", one_of=("float32", "float64"))

    def draw(self, trials: Iterable[int], draw: Callable[[torch.Generator], tuple[Tensor, ...]]) -> list[Tensor]:
        """What ``draw`` draws in float64 for each of ``trials``, stacked, in the precision and on the device."""
        drawn = stack_trials(draw, self.seed, trials)
        return [one.to(find_device(self.device), data_type(self.precision)) for one in drawn]


def check_even(neurons: int) -> None:
    """Raise ValueError unless ``neurons`` can be symmetrised."""
    if neurons % 2:
        raise ValueError(f"neurons={neurons}: a symmetrised student has an even number, give {neurons + 1}")


@dataclass(frozen=True)
class ScaledStudents(TeacherStudent):
    """Symmetrised students whose weights are N(0, tau^2) at the start, at every tau of a range."""

    neurons: int = key(50, "of the student, an even number", at_least=2)
    tau_range: tuple[float, ...] = key((0.01, 10.0), "the least and the greatest tau", above=0)
    taus: int = key(30, "values of tau, evenly spaced in the logarithm", at_least=1)
    step: float = key(0.1, "of gradient descent, over tau^2", above=0)
    largest_step: float = key(10.0, "its largest value, for small tau", above=0)

    #: Scales trained side by side: what of their neurons on the inputs of a step fits a core's cache.
    block: ClassVar[int] = 1

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range."""
        super().check()
        check_even(self.neurons)
        check_ends("tau_range", self.tau_range)

    def run_scales(self, run: Run, columns: Sequence[str]) -> list[dict]:
        """losses.csv, a row a trial and tau of :meth:`losses`, and scales.csv, which is returned: their mean and spread
        over trials."""
        pieces = list(blocks(log_spaced(self.tau_range, self.taus), self.block))
        parts = [(trial, *piece) for trial in range(self.trials) for piece in pieces]
        for trial, block, taus in run.progress(parts, "blocks"):
            run.part("losses", lambda t=trial, taus=taus: self.losses(t, taus), trial=trial, block=block)
        return run.part("scales", lambda: spread(run.table("losses"), ("tau",), columns))

    def losses(self, trial: int, taus: Sequence[float]) -> list[dict]:
        """The rows of one trial at these tau."""
        raise NotImplementedError

    def draw_student(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """a and b of tau = 1: the second half of the neurons repeats the first with opposite output signs."""
        a = torch.randn(self.neurons // 2, self.dimension, generator=generator, dtype=torch.float64)
        b = torch.randn(self.neurons // 2, generator=generator, dtype=torch.float64)
        return symmetrised(a, b)


def log_spaced(ends: Sequence[float], number: int) -> list[float]:
    """``number`` values from the first of ``ends`` to the second, evenly spaced in the logarithm, to five digits."""
    logs = torch.linspace(math.log10(ends[0]), math.log10(ends[1]), number, dtype=torch.float64).tolist()
    return [float(f"{10**log:.5g}") for log in logs]


def check_ends(name: str, ends: Sequence[float]) -> None:
    """Raise ValueError unless ``ends`` are a least and a greatest value."""
    if len(ends) != 2 or ends[0] > ends[1]:
        raise ValueError(f"{name}={list(ends)}: give the least and the greatest value, as {name}=[0.01,1]")


def at_scales(a: Tensor, b: Tensor, taus: Sequence[float]) -> tuple[Tensor, Tensor]:
    """tau a and tau b for every tau: (trials, m, d) and (trials, m) get the axis of scales."""
    tau = a.new_tensor(taus)
    return tau[:, None, None] * a.unsqueeze(1), tau[:, None] * b.unsqueeze(1)


def step_sizes(taus: Sequence[float], step: float, largest: float) -> list[float]:
    """min(step / tau^2, largest) for every tau."""
    return [min(step / tau**2, largest) for tau in taus]


def blocks(items: Sequence, size: int) -> Iterator[tuple[int, Sequence]]:
    """(index, items) of consecutive pieces of at most ``size``."""
    return enumerate(items[at : at + size] for at in range(0, len(items), size))


def status(*losses: float) -> dict:
    """The row's status: diverged if a loss is infinite."""
    return {"status": "finished" if all(map(math.isfinite, losses)) else "diverged"}


def spread(rows: list[dict], by: Sequence[str], columns: Sequence[str]) -> list[dict]:
    """For every value of ``by`` mean and standard deviation over the trials that did not diverge, and how many did."""
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    found = []
    for values, group in sorted(groups.items()):
        whole = [row for row in group if row["status"] == "finished"]
        numbers = {name: [row[name] for row in whole] for name in columns}
        means = {name: fmean(own) if own else math.inf for name, own in numbers.items()}
        deviations = {f"{name}_std": stdev(own) if len(own) > 1 else None for name, own in numbers.items()}
        counts = {"n": len(whole), "diverged": len(group) - len(whole)}
        found.append(dict(zip(by, values, strict=True)) | means | deviations | counts)
    return found


def ratio(rows: list[dict], column: str, first: float, second: float) -> float | None:
    """The ``column`` at tau = ``second`` over that at ``first``, None where a row is missing or a trial diverged."""
    found = [[row for row in rows if abs(math.log(row["tau"] / wanted)) < 0.05] for wanted in (first, second)]
    if not all(found) or any(row["diverged"] for (row, *_) in found):
        return None
    (below, *_), (above, *_) = found
    return above[column] / below[column]
