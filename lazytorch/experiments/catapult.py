"""The catapult: gradient descent above the edge of stability, of the toy, of a network, and as the scale grows."""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from ..anchored import check_alpha
from ..quantities import Quantity
from ..reports import Claim, Figure, Panel, Report, Table
from .catapult_network import Network, phase
from .catapult_toy import Toy, are_within
from .fields import key
from .problem import NetworkExperiment
from .run import Run
from .slopes import log_slope

BOUNDARIES: dict[str, Callable[[dict], bool]] = {
    "never_rises": lambda trial: trial["peak"] <= trial["start"],
    "ends_below_its_start": lambda trial: trial["end"] < trial["start"],
    "comes_down_again": lambda trial: trial["end"] < trial["peak"],
}


@dataclass(frozen=True)
class Catapult(NetworkExperiment):
    """Gradient descent above the edge of stability: a toy, a network at alpha = 1, and the network at every scale.

    Learning rates are in units of 1 / lambda_0, lambda_0 the top eigenvalue at the start of 2 Theta / (n K), or of the
    toy's Theta; all training is full-batch, without momentum, in float64, of the centered model.

    The toy of :mod:`lazytorch.theory.catapult` is trained as a module against its exact recursion. The network is
    trained at ``rates``, and at every scale three boundaries are found by bisection: the largest rates at which the
    loss never rises above its start, ends below it, and comes down again from its largest value, in ``trial_steps``.
    At alpha = inf all three are 2; of a finite scale only the first two go there as it grows. Cost: ``steps`` full
    batches a rate with some twenty top eigenvalues by Lanczos, and up to 3 ``halvings`` trials a scale.
    """

    units: int = key(4096, "of the toy", at_least=1)
    toy_rates: tuple[float, ...] = key((1.5, 2.5, 3.5, 3.9, 4.1), "of the toy", above=0)
    targets: tuple[float, ...] = key((0.0, 1.0), "y of the toy")
    toy_steps: int = key(1000, "of the toy", at_least=1)
    draws: int = key(1000, "of the toy's weights, for how its numbers spread", at_least=1)
    rates: tuple[float, ...] = key((0.5, 1.0, 1.8, 3.0, 6.0, 10.0, 20.0), "of the network at alpha = 1", above=0)
    steps: int = key(500, "of the network at alpha = 1", at_least=1)
    alphas: tuple[float, ...] = key((1.0, 10.0, 100.0, 1e3, 1e4, math.inf), "scales whose boundaries are found")
    trial_steps: int = key(300, "of every trial of the bisection", at_least=1)
    bracket: tuple[float, float] = key((1.0, 40.0), "a rate that is lazy, and one that diverges", above=0)
    halvings: int = key(9, "of the bracket's logarithm", at_least=1)
    contrast: tuple[float, float] = key((1.0, 3.0), "a lazy rate and one above the edge, compared at every scale")

    report: ClassVar[Report] = Report(
        Figure(
            "toy",
            Panel(
                "toy",
                x="step",
                y="recursion",
                marks="measured",
                by="rate",
                where={"quantity": "output"},
                yscale="log",
                ylabel="|f|",
            ),
            Panel(
                "toy",
                x="step",
                y="recursion",
                marks="measured",
                by="rate",
                where={"quantity": "eta_lambda"},
                ylabel="ηλ",
            ),
            caption="The toy at y = 0, by eta lambda_0: lines the exact recursion, marks the trained module.",
        ),
        Figure(
            "phases",
            Panel("phases", x="step", y="loss", by="rate", xscale="log", yscale="log", ylabel="training loss"),
            Panel("phases", x="step", y="eta_lambda", by="rate", xscale="log", yscale="log", ylabel="ηλ"),
            Panel("phases", x="step", y="test_accuracy", by="rate", xscale="log"),
            caption="The network at alpha = 1, by eta lambda_0. Above 2 the loss rises until lambda has fallen below "
            "the edge 2 / eta, to which it returns; where it diverges the first steps are shown.",
        ),
        Figure(
            "generalisation",
            Panel("generalisation", x="rate", y="test_accuracy", xscale="log"),
            caption="Test accuracy at the end against eta lambda_0.",
        ),
        Figure(
            "scales",
            Panel("boundaries", x="alpha", y=tuple(BOUNDARIES), bounds=("edge",), ylabel="largest ηλ₀ whose loss ..."),
            Panel("scales", x="alpha", y="displacement", by="rate", guides=(-1,), yscale="log"),
            Panel("scales", x="alpha", y="peak_step", by="rate", ylabel="step of the largest loss"),
            caption="Left the largest rates at which the loss never rises above its start, ends below its start, and "
            "comes down again; middle how far the weights move, by eta lambda_0; right when the loss is largest.",
        ),
        Table("toy_ends", title="The toy against its recursion"),
        Table("generalisation", title="The network at alpha = 1"),
        Table("boundaries", title="Boundaries of eta lambda_0"),
        Table("scales", title="At every scale"),
        Claim(
            "the trained toy follows the recursion within 1e-9 (of sqrt(n) lambda / 2 and of lambda), at every step",
            lambda summary: None if summary["toy_error"] is None else summary["toy_error"] < 1e-9,
            source="Lewkowycz et al. 2020, section 2, with f and Delta told apart",
        ),
        Claim(
            "of toys with y = 0 all converge at eta lambda_0 < 4 and none above",
            lambda summary: summary["toy_edge_is_4"],
            source="Lewkowycz et al. 2020, section 2",
        ),
        Claim(
            "the toy's known peaks and ends are within the central 95 % of draws of the weights",
            lambda summary: summary["toy_known"],
        ),
        Claim(
            "in the catapult phase the top eigenvalue falls below 2 / eta",
            lambda summary: None if summary["lowest"] is None else summary["lowest"] < 2,
            source="Lewkowycz et al. 2020",
        ),
        Claim(
            "and ends there, up to 5 % for what it sharpens again",
            lambda summary: None if summary["highest_end"] is None else summary["highest_end"] < 2.1,
            source="Lewkowycz et al. 2020; Cohen et al. 2021",
        ),
        Claim(
            "at alpha = inf all boundaries are 2 within 1 %",
            lambda summary: None if summary["edge_at_inf"] is None else abs(summary["edge_at_inf"] / 2 - 1) < 0.01,
            source="gradient descent on a quadratic",
        ),
        Claim(
            "the largest rate that gains anything within the steps falls to 2 as alpha grows",
            lambda summary: summary["gains_fall"],
        ),
        Claim(
            "but no finite scale moves the boundary of the catapult to 2: it stays above 4",
            lambda summary: None if summary["lowest_return"] is None else summary["lowest_return"] > 4,
        ),
        Claim(
            "the loss is largest at log(alpha) / log(eta lambda_0 - 1) + const (slope within 10 %)",
            lambda summary: None if summary["delay"] is None else abs(summary["delay"] - 1) < 0.1,
        ),
        Claim(
            "below the edge weights move by 1 / alpha (slope -1 within 0.05), above it as far at any finite alpha",
            lambda summary: summary["laziness_ends_at_the_edge"],
        ),
    )
    smoke = (
        "data.train_size=20",
        "data.test_size=10",
        "model.width=16",
        "units=64",
        "toy_steps=40",
        "draws=20",
        "rates=[1,3]",
        "steps=10",
        "alphas=[1,100,inf]",
        "trial_steps=30",
        "halvings=3",
    )

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that full-batch training has no use for."""
        super().check()
        self.check_whole_sets()
        for alpha in self.alphas:
            check_alpha(alpha)
        (low, high), (lazy, beyond) = self.bracket, self.contrast
        if not (low < 2 < high and lazy < 2 < beyond):
            raise ValueError("bracket and contrast are a rate below 2 and one above: as bracket=[1,40] contrast=[1,3]")

    def prepare(self, run: Run) -> None:
        """Declare the learning rate's unit."""
        run.quantities["rate"] = Quantity("rate", "the learning rate in units of 1 / lambda_0", r"$\eta\lambda_0$")

    def run(self, run: Run) -> dict:
        """toy.csv, toy_ends.csv; phases.csv, generalisation.csv; trials.csv, boundaries.csv, scales.csv."""
        toy, network = self._run_toy(run), Network(run.problem)
        return {"lambda_0": network.top} | toy | self._run_phases(run, network) | self._run_scales(run, network)

    def _run_toy(self, run: Run) -> dict:
        toy = Toy(self.units, self.toy_steps, self.draws, self.seed)
        for rate in run.progress(self.toy_rates, "toy"):
            run.part("toy", lambda rate=rate: toy.curves(rate), rate=rate)
            for target in self.targets:
                run.part("toy_ends", lambda r=rate, y=target: toy.end(r, y), target=target, rate=rate)
        rows = run.table("toy_ends")
        comparable = self.units == 4096 and self.toy_steps >= 1000 and self.draws >= 1000
        edge = [row["converging"] == (row["rate"] < 4) for row in rows if row["target"] == 0]
        return {
            "toy_error": max((row["error"] for row in rows if row["error"] is not None), default=None),
            "toy_edge_is_4": all(edge) if edge else None,
            "toy_known": are_within(rows) if comparable else None,
        }

    def _run_phases(self, run: Run, network: Network) -> dict:
        for rate in run.progress(self.rates, "rates"):
            rows = run.part("phases", lambda rate=rate: network.phases(rate, self.steps), rate=rate)
            run.part("generalisation", lambda rows=rows: phase(rows, self.steps), rate=rate)
        catapults = [row for row in run.table("generalisation") if row["phase"] == "catapult"]
        return {
            "lowest": max((row["lowest_eta_lambda"] for row in catapults), default=None),
            "highest_end": max((row["eta_lambda"] for row in catapults), default=None),
        }

    def _run_scales(self, run: Run, network: Network) -> dict:
        for alpha in run.progress(sorted(self.alphas), "scales"):
            for rate in self.contrast:
                run.part(
                    "scales", lambda a=alpha, r=rate: network.trial(a, r, self.trial_steps), alpha=alpha, rate=rate
                )
            found = {name: self._boundary(run, network, alpha, test) for name, test in BOUNDARIES.items()}
            run.part("boundaries", lambda found=found: found | {"edge": 2.0}, alpha=alpha)
        return _boundaries_summary(run.table("boundaries")) | self._contrast_summary(run.table("scales"))

    def _boundary(self, run: Run, network: Network, alpha: float, holds: Callable[[dict], bool]) -> float:
        """The geometric mean of the last two rates of a bisection, on a lattice that all bisections share."""
        low, high = 0, 2**self.halvings

        def rate(k: float) -> float:
            return self.bracket[0] * (self.bracket[1] / self.bracket[0]) ** (k / high)

        def tried(k: int) -> bool:
            (row,) = run.part(
                "trials", lambda: network.trial(alpha, rate(k), self.trial_steps), alpha=alpha, rate=rate(k)
            )
            return holds(row)

        if not tried(low) or tried(high):
            raise ValueError(
                f"bracket={list(self.bracket)} has no boundary at alpha={alpha:g}: begin with a rate that trains in "
                f"trial_steps={self.trial_steps} steps, and end with one that diverges"
            )
        return rate(bisect_left(range(1, high), True, key=lambda k: not tried(k)) + 0.5)

    def _contrast_summary(self, rows: list[dict]) -> dict:
        """How the loss's peak is delayed, and the displacement falls, as alpha grows, from 10 on."""
        finite = [row for row in rows if 10 <= row["alpha"] < math.inf and row["displacement"] is not None]
        lazy, beyond = ([row for row in finite if row["rate"] == rate] for rate in self.contrast)
        fall, fall_beyond = (log_slope(own, "alpha", "displacement") for own in (lazy, beyond))
        if fall is None or fall_beyond is None:
            return {"delay": None, "laziness_ends_at_the_edge": None}
        delays = np.polyfit(*([math.log(row["alpha"]) for row in beyond], [row["peak_step"] for row in beyond]), 1)[0]
        return {
            "delay": float(delays) * math.log(self.contrast[1] - 1),
            "displacement_slope": {"lazy": fall, "catapult": fall_beyond},
            "laziness_ends_at_the_edge": abs(fall + 1) < 0.05 and abs(fall_beyond) < 0.05,
        }


def _boundaries_summary(rows: list[dict]) -> dict:
    """Of rows in the order of alpha."""
    at_inf = [row[name] for row in rows if row["alpha"] == math.inf for name in BOUNDARIES]
    gains = [row["ends_below_its_start"] for row in rows]
    return {
        "edge_at_inf": max(at_inf, key=lambda value: abs(value - 2), default=None),
        "gains_fall": all(a >= b for a, b in pairwise(gains)) and gains[0] > gains[-1] if len(gains) > 1 else None,
        "lowest_return": min((row["comes_down_again"] for row in rows if row["alpha"] < math.inf), default=None),
    }
