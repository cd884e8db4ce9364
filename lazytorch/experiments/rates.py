"""How fast finite alpha comes to its linearization: |w - w_0| ~ 1/alpha, |w - wbar| ~ 1/alpha^2, outputs ~ 1/alpha."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from scipy.stats import gmean
from torch import Tensor

from ..activations import activation_stability
from ..anchored import check_alpha
from ..centered import CenteredModel
from ..kernels import kernel_operator, top_eigenpairs
from ..quantities import BLUE, GREEN, ORANGE, VERMILION, Quantity
from ..reports import Claim, Figure, Panel, Report, Table
from ..theory.flow import ScaledVelocity
from ..theory.slopes import Slope, log_slope, mean_slope
from .fields import key
from .problem import NetworkExperiment, Problem
from .run import Run

RATES = {"displacement": -1.0, "departure": -2.0, "output_departure": -1.0}
TOLERANCE = 0.05
SMOOTH, KINKED = "tanh", "relu"
QUANTITIES = (
    Quantity("displacement", "largest |w - w_0|", r"$|w - w_0|$", log=True, color=BLUE),
    Quantity("departure", "largest |w - wbar|", r"$|w - \bar w|$", log=True, color=VERMILION, marker="s"),
    Quantity(
        "output_departure",
        "largest |alpha h(w) - alpha hbar(wbar)|",
        r"$|\alpha h(w) - \alpha\bar h(\bar w)|$",
        log=True,
        color=GREEN,
        marker="^",
    ),
    Quantity("flipped", "share of ReLU units whose sign has changed", "share of units flipped", log=True, color=ORANGE),
)


@dataclass(frozen=True)
class Rates(NetworkExperiment):
    """The network at w, the linearization at wbar, and how their distances fall with the scale alpha.

    Both are trained by the same full-batch gradient descent on |alpha h - y|^2 / 2, h(w) = f(w) - f(w_0) and hbar its
    linearization at w_0, in scaled coordinates and float64: theta = alpha (w - w_0) is of order 1 at every alpha, and
    divided differences make alpha h without a cancellation, so that |w - wbar| = |theta - thetabar| / alpha is found
    to rounding of theta over alpha (1e-16 / alpha, 1e4 times less than what is measured at alpha = 1e6). The theory,
    which is of gradient flow up to a fixed time, holds of a fixed number of steps likewise. The distances are the
    largest over all steps. Slopes are those of least squares in log-log, of every trial (weights and data subset drawn
    anew), then their mean with the 95 % interval of Student's t over trials.

    Of a smooth network theory gives the slopes -1, -2 and -1. ReLU networks are outside of it and are trained beside.
    At alphas where no unit changes its sign their slopes are found to be the same; a few units that do make the
    departure several to several hundred times as large, so that slopes over all alphas are steeper and vary from trial
    to trial.

    Cost: ``steps`` steps a trial, activation and alpha, and of the linearization.
    """

    activations: tuple[str, ...] = key((SMOOTH, KINKED), "of the network, a key of the model: one series each")
    alphas: tuple[float, ...] = key((1e2, 1e3, 1e4, 1e5, 1e6), "the scales")
    trials: int = key(5, "independent networks and subsets", at_least=2)
    steps: int = key(100, "of full-batch gradient descent", at_least=1)
    step: float = key(0.9, "their size, as a share of the largest stable one of the linearization", above=0, below=1)

    report: ClassVar[Report] = Report(
        Figure(
            "rates",
            *(
                Panel(
                    "means",
                    x="alpha",
                    y=tuple(RATES),
                    where={"activation": activation},
                    guides=(-1, -2),
                    title=activation,
                    ylabel="distance",
                )
                for activation in (SMOOTH, KINKED)
            ),
            Panel("means", x="alpha", y="flipped", where={"activation": KINKED}, yscale="log", title=KINKED),
            caption="Largest distances over all steps, geometric mean over trials: of the weights from the start, of "
            "weights and outputs from those of the linearization. Right the share of ReLU units whose sign has changed "
            "on the training inputs by the last step, mean over trials; hollow where none has.",
        ),
        Table("slopes"),
        Table("distances"),
        *(
            Claim(
                f"{SMOOTH}: {text} (slope {slope:g}, 95 % interval within {TOLERANCE:g})",
                lambda summary, name=name: summary.get(f"{SMOOTH}_{name}_holds"),
                source="Chizat, Oyallon & Bach 2019, section 2",
            )
            for (name, slope), text in zip(
                RATES.items(),
                (
                    "|w - w_0| falls as 1/alpha",
                    "|w - wbar| falls as 1/alpha^2",
                    "|alpha h - alpha hbar| falls as 1/alpha",
                ),
                strict=True,
            )
        ),
    )
    smoke = ("data.train_size=10", "data.test_size=10", "model.width=8", "steps=5", "alphas=[1e2,1e4]", "trials=2")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that full-batch training has no use for."""
        super().check()
        if len(set(self.alphas)) < 2 or any(check_alpha(alpha) == math.inf for alpha in self.alphas):
            raise ValueError("alphas are finite, inf is always trained: give two or more, as alphas=[1e2,1e3]")
        self.check_whole_sets()

    def prepare(self, run: Run) -> None:
        """Name what the tables hold."""
        run.quantities |= {quantity.name: quantity for quantity in QUANTITIES}

    def run(self, run: Run) -> dict:
        """distances.csv: by activation, trial and alpha; means.csv: their geometric means over trials; slopes.csv."""
        for activation in self.activations:
            for trial in run.progress(range(self.trials), activation):
                keys = {"activation": activation, "trial": trial}
                run.part("distances", lambda keys=keys: list(self._distances(**keys)), **keys)
        summary = {}
        for activation in self.activations:
            rows = [row for row in run.table("distances") if row["activation"] == activation]
            run.part("means", lambda rows=rows: list(self._means(rows)), activation=activation)
            for row in run.part("slopes", lambda rows=rows: list(self._slopes(rows)), activation=activation):
                slope = Slope(row["slope"], row["low"], row["high"])
                name = f"{activation}_{row['of']}"
                summary |= {f"{name}_{part}": value for part, value in slope._asdict().items()}
                summary[f"{name}_slope_where_none_flipped"] = row["slope_where_none_flipped"]
                if activation != KINKED:
                    summary[f"{name}_holds"] = slope.is_within(TOLERANCE, RATES[row["of"]])
        return summary

    def _distances(self, activation: str, trial: int) -> Iterator[dict]:
        model = self.model | {"activation": activation}
        problem = replace(self, model=model, seed=self.seed + trial).problem()
        x = _head(problem)[0]
        top = top_eigenpairs(kernel_operator(problem.net.double(), x), 1)[0].max().item()
        linear = self._path(problem, math.inf, 2 * self.step / top)
        for alpha in self.alphas:
            theta, outputs, flipped = self._path(problem, alpha, 2 * self.step / top)
            yield {
                "alpha": alpha,
                "displacement": _largest(theta) / alpha,
                "departure": _largest(theta - linear[0]) / alpha,
                "output_departure": _largest(outputs - linear[1]),
                "flipped": flipped,
            }

    def _path(self, problem: Problem, alpha: float, lr: float) -> tuple[Tensor, Tensor, float]:
        """theta (steps, P) and outputs (steps, n, K) after every step, and the share of ReLU units that have flipped
        at the end, nan if there are none."""
        velocity = ScaledVelocity(CenteredModel(problem.network(), alpha), *_head(problem))
        theta, path = velocity.theta, []
        for _ in range(self.steps):
            theta = theta + lr * velocity(theta)
            path.append(theta)
        outputs = torch.stack([velocity.outputs(each) for each in path])  # leaves the model at the last
        w_0, w, x = velocity.model.initial_weights(), velocity.model.weights(), _head(problem)[0]
        flipped = 1 - activation_stability(problem.net, w_0, w, x)["overall"]
        return torch.stack(path), outputs, flipped

    def _means(self, rows: list[dict]) -> Iterator[dict]:
        """Over trials, geometric of the distances."""
        for alpha in self.alphas:
            found = [row for row in rows if row["alpha"] == alpha]
            means = {name: float(gmean([row[name] for row in found])) for name in RATES}
            yield {"alpha": alpha} | means | {"flipped": sum(row["flipped"] for row in found) / len(found)}

    def _slopes(self, rows: list[dict]) -> Iterator[dict]:
        """Over all alphas, and over those at which no unit has flipped in any trial."""
        calm = {row["alpha"] for row in rows} - {row["alpha"] for row in rows if row["flipped"] > 0}
        for name, theory in RATES.items():
            slope = self._mean_slope(rows, name)
            unflipped = self._mean_slope([row for row in rows if row["alpha"] in calm], name)
            yield {"of": name, "theory": theory, **slope._asdict(), "slope_where_none_flipped": unflipped.slope}

    def _mean_slope(self, rows: list[dict], name: str) -> Slope:
        trials = [[row for row in rows if row["trial"] == trial] for trial in range(self.trials)]
        return mean_slope(
            [log_slope(*([row[column] for row in each] for column in ("alpha", name))) for each in trials]
        )


def _head(problem: Problem) -> tuple[Tensor, Tensor]:
    train, _ = problem.data("float64")
    return train.head(len(train))


def _largest(path: Tensor) -> float:
    return path.flatten(1).norm(dim=1).max().item()
