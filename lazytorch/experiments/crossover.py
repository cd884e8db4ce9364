"""The scale alpha* at which a network passes from feature learning to lazy training, against its width."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..quantities import Quantity
from ..reports import Claim, Figure, Panel, Report, Table
from ..theory import TrainingDrift, crossover
from .fields import key
from .problem import ImageExperiment, Images, NetworkExperiment, build_network, describe
from .run import Run
from .slopes import log_slope


@dataclass(frozen=True)
class Crossover(NetworkExperiment):
    """alpha* by bisection of the kernel drift at the end of training, for several widths and draws of the weights.

    The network has one output, which is to tell even classes from odd ones, targets 1 and -1, by the square loss. In
    the parametrisation of the tangent kernel the drift is a function of alpha sqrt(width) up to terms in
    1 / (alpha width), which grow with the number of outputs: alpha* ~ width^(-1/2) (Geiger et al. 2020). For others,
    and for what makes trainings comparable, see :class:`lazytorch.theory.TrainingDrift`, in whose words
    ``threshold``, ``share`` and ``step`` are. Everything is in float32, the kernels in float64. Cost: of every width
    and draw about 7 trainings for alpha*, and one for every scale of ``scaled_alphas``.
    """

    widths: tuple[int, ...] = key((64, 128, 256, 512, 1024), "of the network, its key model.width", at_least=1)
    draws: int = key(5, "of the initial weights, with the seed and the next ones", at_least=1)
    scaled_alphas: tuple[float, ...] = key(
        (0.3, 0.5, 1.0, 2.0, 4.0, 8.0), "alpha sqrt(width) at which the drift is measured", above=0
    )
    threshold: float = key(0.5, "the kernel drift at alpha*", above=0)
    tolerance: float = key(0.05, "the relative one of alpha*", above=0)
    share: float = key(0.25, "of the loss at the start, at which training ends", above=0, below=1)
    step: float = key(0.1, "of descent with momentum 0.9, as a share of the largest stable one", above=0, below=1)
    probe_size: int = key(32, "test inputs on which kernels are measured", at_least=1)

    report: ClassVar[Report] = Report(
        Figure(
            "crossover",
            Panel("crossover", x="width", y="crossover", guides=(-0.5,), xscale="log", title="crossover"),
            Panel("drift", x="scaled_alpha", y="ntk_drift", by="width", xscale="log", title="collapse"),
            caption="Left the scale at which the drift passes the threshold; right the drift at the end of training.",
        ),
        Table("crossover", ("width", "crossover", "scaled_crossover")),
        Table("drift", ("width", "scaled_alpha", "ntk_drift")),
        Claim(
            "alpha* ~ width^(-1/2), the slope within 0.1",
            lambda summary: None if summary["slope"] is None else abs(summary["slope"] + 0.5) < 0.1,
            source="Geiger, Spigler, Jacot & Wyart 2020",
        ),
        Claim(
            "drifts above the threshold are a function of alpha sqrt(width): means over draws agree within a factor "
            "of 1.3",
            lambda summary: None if summary["collapse"] is None else summary["collapse"] < 1.3,
            source="Geiger, Spigler, Jacot & Wyart 2020",
        ),
    )
    smoke = (
        *("data.train_size=20", "data.test_size=20", "widths=[8,16]", "draws=1", "scaled_alphas=[1.0]"),
        *("share=0.7", "tolerance=1.0", "probe_size=4"),
    )

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that full-batch training has no use for."""
        super().check()
        for name in ("widths", "scaled_alphas"):
            if not (values := getattr(self, name)) or len(set(values)) < len(values):
                raise ValueError(f"give one or more {name}, none of them twice")
        self.check_whole_sets()

    def problem(self) -> Images:
        """The images; the networks are built in the parts, width by width.

        Raises:
            ValueError, TypeError, FileNotFoundError, RuntimeError: what is wrong, in one line with its remedy.
        """
        return ImageExperiment.problem(self)

    def prepare(self, run: Run) -> None:
        """Build the narrowest network, which raises what is wrong with the model."""
        self._drift(run, min(self.widths), 0)
        run.quantities |= {quantity.name: quantity for quantity in QUANTITIES}

    def run(self, run: Run) -> dict:
        """drift.csv: the drift by width, draw and alpha; crossover.csv: alpha* by width and draw."""
        pairs = [(width, draw) for width in sorted(self.widths) for draw in range(self.draws)]
        for width, draw in run.progress(pairs, "networks"):
            at = {"width": width, "draw": draw}
            run.part("drift", lambda at=at: self._drifts(run, **at), **at)
            run.part("crossover", lambda at=at: self._crossover(run, **at), **at)
        rows = run.table("crossover")
        return {
            "slope": log_slope(rows, "width", "crossover"),
            "collapse": _collapse(run.table("drift"), self.threshold),
            "scaled_crossover": float(np.mean([row["scaled_crossover"] for row in rows])),
        }

    def _drifts(self, run: Run, width: int, draw: int) -> list[dict]:
        drift = self._drift(run, width, draw)
        alphas = [scaled / math.sqrt(width) for scaled in self.scaled_alphas]
        found = zip(self.scaled_alphas, alphas, map(drift, alphas), strict=True)
        return [{"scaled_alpha": scaled, "alpha": alpha, "ntk_drift": value} for scaled, alpha, value in found]

    def _crossover(self, run: Run, width: int, draw: int) -> dict:
        start = 1 / math.sqrt(width)
        alpha = crossover(self._drift(run, width, draw), self.threshold, start, self.tolerance)
        return {"crossover": alpha, "scaled_crossover": alpha / start}

    def _drift(self, run: Run, width: int, draw: int) -> TrainingDrift:
        train, test = run.problem.data("float32")
        x, y = train.head(len(train))
        model = self.model | {"width": width, "classes": 1}
        net = build_network(model, describe(run.problem.train), self.seed + draw).to(run.problem.device)
        targets = (1.0 - 2 * (y % 2)).to(x.dtype)[:, None]
        return TrainingDrift(net, x, targets, test.head(self.probe_size)[0], self.share, self.step)


QUANTITIES = (
    Quantity("crossover", "the scale at which the drift passes the threshold", r"crossover $\alpha^*$", log=True),
    Quantity("scaled_crossover", "alpha* sqrt(width)", r"$\alpha^* \sqrt{h}$"),
    Quantity("scaled_alpha", "alpha sqrt(width)", r"$\alpha \sqrt{h}$", log=True),
    Quantity("width", "the units of a layer", "width $h$", log=True, digits="g"),
)


def _collapse(rows: list[dict], threshold: float) -> float | None:
    """The largest ratio, over widths, of mean drifts at one alpha sqrt(width), of those that are above the threshold;
    None of one width, or none above."""
    means: dict[float, dict[int, list[float]]] = {}
    for row in rows:
        means.setdefault(row["scaled_alpha"], {}).setdefault(row["width"], []).append(row["ntk_drift"])
    by_scale = [[float(np.mean(drifts)) for drifts in of_width.values()] for of_width in means.values()]
    return max((max(d) / min(d) for d in by_scale if len(d) > 1 and threshold < min(d) < math.inf), default=None)
