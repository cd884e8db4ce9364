"""The theorem of lazy training on random instances: what it proves, what is observed, and where its threshold lies."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..quantities import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, Quantity
from ..reports import Claim, Figure, Panel, Report, Table
from ..theory.certificate import TOLERANCE, Certificate, certificates
from ..theory.lazy_bounds import lazy_bounds
from ..theory.slopes import log_slope, mean_slope
from ..theory.two_layer_smooth import SMOOTH, TwoLayerSmooth
from .experiment import Experiment
from .fields import key
from .run import Run

SLOPES = {"none": -1.0, "m^(-1/2)": -0.5}  # of alpha*(m), by the factor of f = factor sum a_i sigma(w_i . x)
SLOPE_ERROR = 0.05
TITLES = ("f = sum a_i sigma(w_i x)", "f = m^(-1/2) sum a_i sigma(w_i x)")
DRAWN = (1.1, 1e-3)  # alpha / alpha* of the flows that are drawn
CHECKS = (
    Quantity("largest_singular_value", label="largest singular value", log=True, color="black", marker="v"),
    Quantity("smallest_singular_value", label="smallest singular value", log=True, color=GREEN, marker="^"),
    Quantity("loss", label="loss", log=True, color=BLUE),
    Quantity("displacement", label="displacement", log=True, color=VERMILION, marker="s"),
    Quantity("lipschitz", label="change of the Jacobian", log=True, color=SKY, marker="D"),
    Quantity("linear_loss", label="loss, linearized", log=True, color=ORANGE, linestyle="--"),
    Quantity("linear_displacement", label="displacement, linearized", log=True, color=PURPLE, linestyle="--"),
)
NETWORK, LINEAR = (tuple(c.name for c in part) for part in (CHECKS[:5], CHECKS[5:]))
OTHERS = (
    *(Quantity(f"{check.name}_bound", label=f"{check.label}: bound") for check in CHECKS),
    Quantity("equality", "where bound and observation are equal", "bound = observed"),
    Quantity("s", "the time alpha^2 t", r"time $s = \alpha^2 t$"),
    Quantity("share", "alpha over alpha*", r"$\alpha\,/\,\alpha^*$", log=True),
    Quantity("width", "neurons of the network", r"neurons $m$", digits="g", log=True),
    Quantity("threshold", "alpha*, above which the theorem holds", r"threshold $\alpha^*$", log=True),
)


def _flows(name: str, share: float, caption: str) -> Figure:
    """Losses, distances and singular values in time, with their bounds."""
    columns = {
        "loss": ("loss", "linear_loss"),
        "distance from the start": ("displacement", "linear_displacement"),
        "singular values of the Jacobian": ("smallest_singular_value", "largest_singular_value"),
    }
    panels = [
        Panel(
            "flow",
            x="s",
            y=of,
            bounds=tuple(f"{column}_bound" for column in of),
            where={"share": share},
            title=title,
            ylabel=title,
            xscale="linear",
            yscale="log",
        )
        for title, of in columns.items()
    ]
    return Figure(name, *panels, caption=caption)


@dataclass(frozen=True)
class CertifiedLaziness(Experiment):
    """Above alpha* = 12 sqrt(2) beta s_max sqrt(L_0) / s_min^3 gradient flow keeps the bounds of lazy training.

    Instances are two-layer networks of smooth neurons with weights from N(0, I) and fixed outer signs, ``inputs``
    points drawn uniformly from the unit sphere, and targets from N(0, 1), all in float64. For them beta is proved, see
    :class:`lazytorch.theory.TwoLayerSmooth`; the theorem, its constants and errata are in
    :class:`lazytorch.theory.LazyBounds`. At each share of alpha* the flows of the network and of its linearization are
    integrated and held against every bound (:func:`lazytorch.theory.certify`). Below alpha* nothing is claimed: how far
    below the bounds still hold is a result. And alpha* itself, which needs no flow, is measured against the width.
    Cost: two flows an instance and share, some seconds.
    """

    activation: str = key("tanh", ", ".join(SMOOTH), one_of=tuple(SMOOTH))
    inputs: int = key(6, "n, the training points", at_least=1)
    dimension: int = key(10, "d, of the inputs", at_least=1)
    neurons: int = key(100, "m, of the instances that are trained", at_least=1)
    trials: int = key(8, "independent instances, each at all shares and widths", at_least=2)
    shares: tuple[float, ...] = key((1e-3, 1e-2, 0.1, 1.0, 1.1, 2.0, 10.0), "alpha, over alpha*", above=0)
    widths: tuple[int, ...] = key((256, 1024, 4096, 16384), "m, at which alpha* is measured", at_least=1)

    report: ClassVar[Report] = Report(
        _flows(
            "certificate",
            DRAWN[0],
            f"One instance at alpha = {DRAWN[0]:g} alpha*: the flows of the network and of its linearization, and "
            "dashed the bounds that are proved of them.",
        ),
        _flows(
            "below",
            DRAWN[1],
            f"The same instance at alpha = {DRAWN[1]:g} alpha*, where the theorem says nothing of the network.",
        ),
        Figure(
            "threshold",
            *(
                Panel("widths", x="width", y="threshold", where={"factor": factor}, guides=(slope,), title=title)
                for (factor, slope), title in zip(SLOPES.items(), TITLES, strict=True)
            ),
            Panel(
                "slack",
                x="share",
                y=NETWORK,
                bounds=("equality",),
                yscale="log",
                ylabel="bound / observed",
                title="least over time and instances",
            ),
            caption="alpha* against the width, mean and extent over instances; and how far the network's bounds are "
            "from being met, by alpha / alpha*: below the dashed line one is violated.",
        ),
        Table("slack"),
        Table("instances"),
        Claim(
            "above alpha* every bound of the theorem is observed, in all instances",
            lambda summary: summary["violated_above"] == 0 if summary["instances_above"] else None,
            source="Chizat, Oyallon & Bach 2019, and the notes on linearized networks",
        ),
        Claim(
            "the bounds of the linearization are observed at every alpha",
            lambda summary: summary["violated_linear"] == 0,
            source="the same",
        ),
        Claim(
            f"alpha* falls as 1/m for f = sum a_i sigma (slope -1 within {SLOPE_ERROR:g})",
            lambda summary: summary["sum_holds"],
            source="the lecture's n^(3/2) / N",
        ),
        Claim(
            f"alpha* falls as m^(-1/2) with the factor m^(-1/2) (slope -1/2 within {SLOPE_ERROR:g})",
            lambda summary: summary["normalised_holds"],
            source="Chizat, Oyallon & Bach 2019, section 1.2",
        ),
    )
    smoke = ("inputs=1", "neurons=8", "trials=2", "shares=[1.1]", "widths=[16,64]")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or with which no Jacobian has full rank."""
        super().check()
        if not self.shares or len(set(self.widths)) < 2:
            raise ValueError("give one or more shares and two or more widths, as shares=[0.5,1.1] widths=[64,256]")
        narrowest = min(self.neurons, *self.widths)
        if self.inputs > narrowest * self.dimension:
            raise ValueError(
                f"inputs={self.inputs} of {narrowest} neurons in dimension={self.dimension}: the Jacobian, inputs x "
                "neurons dimension, must have rank inputs; give fewer inputs or more neurons"
            )

    def prepare(self, run: Run) -> None:
        """Name what the tables hold."""
        run.quantities |= {quantity.name: quantity for quantity in (*CHECKS, *OTHERS)}

    def run(self, run: Run) -> dict:
        """flow.csv: one instance in time; instances.csv: the least ratios and the verdict, by trial and share;
        slack.csv: the least over trials; widths.csv: alpha* by trial, width and factor."""
        run.part("flow", lambda: list(self._flow()), trial=0)
        for trial in run.progress(range(self.trials), "instances"):
            run.part("instances", lambda: list(self._trained()), trial=trial)
        rows = run.table("instances")
        for share in self.shares:
            run.part("slack", lambda share=share: _slack(rows, share), share=share)
        for trial in run.progress(range(self.trials), "widths"):
            run.part("widths", lambda: list(self._thresholds()), trial=trial)
        return _counts(rows) | self._slopes(run.table("widths"))

    def _data(self) -> tuple[Tensor, Tensor]:
        x = torch.nn.functional.normalize(torch.randn(self.inputs, self.dimension, dtype=torch.float64))
        return x, torch.randn(self.inputs, 1, dtype=torch.float64)

    def _network(self, neurons: int, normalised: bool = True) -> nn.Module:
        return TwoLayerSmooth(self.dimension, neurons, self.activation, normalised).double()

    def _flow(self) -> Iterator[dict]:
        instance = self._network(self.neurons), *self._data()
        threshold = lazy_bounds(*instance).threshold
        found = certificates(*instance, [share * threshold for share in DRAWN], points=60)
        for share, certificate in zip(DRAWN, found, strict=True):
            columns = {"s": certificate.times}
            for name, check in certificate.checks.items():
                columns |= {name: check.observed, f"{name}_bound": check.bound}
            for row in zip(*(column.tolist() for column in columns.values()), strict=True):
                yield {"share": share} | dict(zip(columns, row, strict=True))

    def _trained(self) -> Iterator[dict]:
        instance = self._network(self.neurons), *self._data()
        threshold = lazy_bounds(*instance).threshold
        found = certificates(*instance, [share * threshold for share in self.shares])
        for share, certificate in zip(self.shares, found, strict=True):
            yield {"share": share, "alpha": certificate.alpha} | _verdicts(certificate)

    def _thresholds(self) -> Iterator[dict]:
        """At each width, with both factors, of new networks on the same data."""
        data = self._data()
        for width in self.widths:
            for factor in SLOPES:
                bounds = lazy_bounds(self._network(width, normalised=factor != "none"), *data)
                numbers = {name: getattr(bounds, name) for name in ("threshold", "s_min", "s_max", "beta")}
                yield {"width": width, "factor": factor} | numbers

    def _slopes(self, rows: list[dict]) -> dict:
        found = {}
        for (factor, slope), name in zip(SLOPES.items(), ("sum", "normalised"), strict=True):
            curves = ([r for r in rows if r["factor"] == factor and r["trial"] == t] for t in range(self.trials))
            slopes = [log_slope(*([r[c] for r in curve] for c in ("width", "threshold"))) for curve in curves]
            mean = mean_slope(slopes)
            found |= {f"{name}_slope": mean.slope, f"{name}_low": mean.low, f"{name}_high": mean.high}
            found[f"{name}_holds"] = mean.is_within(SLOPE_ERROR, slope)
        return found


def _verdicts(certificate: Certificate) -> dict:
    violated = [name for name, check in certificate.checks.items() if not check.is_held]
    bounds = certificate.bounds
    return (
        {"threshold": bounds.threshold, "s_min": bounds.s_min, "s_max": bounds.s_max, "beta": bounds.beta}
        | {name: check.tightest for name, check in certificate.checks.items()}
        | {
            "verdict": f"violated: {', '.join(violated)}" if violated else certificate.checks["loss"].verdict,
            "violated": len(violated),
        }
    )


def _slack(rows: list[dict], share: float) -> dict:
    rows = [row for row in rows if row["share"] == share]
    least = {name: min(row[name] for row in rows) for name in (*NETWORK, *LINEAR)}
    return {"instances": len(rows), "violated": sum(row["violated"] > 0 for row in rows)} | least | {"equality": 1.0}


def _counts(rows: list[dict]) -> dict:
    above = [row for row in rows if row["share"] > 1]
    failed = [row["share"] for row in rows if row["violated"]]
    return {
        "instances_above": len(above),
        "violated_above": sum(row["violated"] > 0 for row in above),
        "instances_below": len(rows) - len(above),
        "violated_below": sum(row["violated"] > 0 for row in rows if row["share"] <= 1),
        "violated_linear": sum(row[name] < 1 - TOLERANCE for row in rows for name in LINEAR),
        "largest_violated_share": max(failed) if failed else math.nan,
        "least_ratio_above": min((row[name] for row in above for name in (*NETWORK, *LINEAR)), default=math.nan),
    }
