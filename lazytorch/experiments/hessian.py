"""The Hessian of the square loss on the way to an interpolating minimum, beside the tangent kernel."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..quantities import BLUE, GREEN, VERMILION, Quantity
from ..reports import Claim, Figure, Panel, Report, Table
from ..theory.hessian import hessian_spectra
from .fields import key
from .problem import NetworkExperiment
from .run import Run
from .slopes import log_slope

ROUNDING = 1e-9  # of eigenvalues by Lanczos, relative
NEAR = 1e-2  # the loss below which the difference is held to follow its square root
QUANTITIES = (
    Quantity("index", "k", r"$k$", digits="g"),
    Quantity("kernel", "lambda_k(J J^T / n)", r"$\lambda_k(J J^T / n)$", log=True, color=BLUE),
    Quantity(
        "hessian", "lambda_k of the Hessian", r"$\lambda_k(H)$", log=True, color=VERMILION, marker="s", linestyle="--"
    ),
    Quantity("loss", "L = |h - y|^2 / 2n", r"loss $L$", digits=".1e", log=True),
    Quantity("threshold", "of the loss, which is just below", r"loss $L$, at most", digits=".0e", log=True),
    Quantity("difference", "the largest relative difference", "relative difference", log=True, color=GREEN, marker="^"),
    Quantity("weyl_bound", "|sum_i r_i D^2 h_i| / n over the smallest of them", "Weyl's bound", log=True, color=GREEN),
)
START, END = "start", "minimum"
PATCH = 2  # iterations between looks at the loss


def _spectrum(place: str, title: str) -> Panel:
    both = ("kernel", "hessian")
    return Panel("spectra", "index", both, where={"place": place}, title=title, ylabel="eigenvalue", yscale="linear")


@dataclass(frozen=True)
class Hessian(NetworkExperiment):
    """The largest eigenvalues of the Hessian of L = |h - y|^2 / 2n and of the tangent kernel J J^T / n, as L goes to 0.

    The network descends by L-BFGS, in float64, and its spectra are taken where L first is at most each of ``losses``.
    By Weyl's inequality an eigenvalue of the Hessian differs from that of J^T J / n, which is the kernel's, by
    |sum_i r_i D^2 h_i| / n at most: linear in the residual r, like the square root of L. Formulas:
    :mod:`lazytorch.theory.hessian`. Cost: the descent, some seconds, and a few hundred products a loss.
    """

    losses: tuple[float, ...] = key((1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10), "where spectra are taken", above=0)
    count: int = key(20, "eigenvalues, from the largest", at_least=1)
    iterations: int = key(5000, "of the descent, at most", at_least=1)

    report: ClassVar[Report] = Report(
        Figure(
            "hessian",
            _spectrum(START, "at the start"),
            _spectrum(END, "at the minimum"),
            Panel(
                "losses",
                x="threshold",
                y="difference",
                bounds=("weyl_bound",),
                guides=(0.5,),
                xscale="log",
                title="on the way",
            ),
            caption="Left and in the middle the largest eigenvalues of J J^T / n and of the Hessian, before training "
            "and at the smallest loss; right their largest relative difference against the loss, dashed Weyl's bound.",
        ),
        Table("losses"),
        Claim(
            f"J^T J and J J^T share their largest eigenvalues (to {ROUNDING:g})",
            lambda summary: summary["kernel_error"] < ROUNDING,
            source="singular values",
        ),
        Claim(
            "every eigenvalue of the Hessian is within |sum_i r_i D^2 h_i| / n of that of J^T J / n",
            lambda summary: summary["over_bound"] <= 1 + 1e-6,
            source="Weyl's inequality",
        ),
        Claim(
            f"below a loss of {NEAR:g} the relative difference falls at least like its square root (slope above 0.45)",
            lambda summary: None if summary["slope"] is None else summary["slope"] > 0.45,
            source="the residual's part of the Hessian is linear in the residual",
        ),
        Claim(
            "where the loss is below 1e-8 the Hessian's largest eigenvalues are the kernel's to 0.1 %",
            lambda summary: None if summary["loss"] > 1e-8 else summary["difference"] < 1e-3,
            source="the Hessian at an interpolating minimum is J^T J / n",
        ),
    )
    smoke = (
        *("data.train_size=10", "data.test_size=10", "model.width=8"),
        *("losses=[1e-1,1e-3]", "count=3", "iterations=50"),
    )

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that full-batch training has no use for."""
        super().check()
        self.check_whole_sets()
        if not self.losses:
            raise ValueError("losses is empty: give one or more, as losses=[1e-1,1e-4]")

    def prepare(self, run: Run) -> None:
        """Declare the quantities of the report."""
        run.quantities |= {quantity.name: quantity for quantity in QUANTITIES}

    def run(self, run: Run) -> dict:
        """spectra.csv: eigenvalues by loss and index; losses.csv: their differences by loss."""
        train, _ = run.problem.data("float64")
        x, labels = train.head(len(train))
        levels = sorted(self.losses, reverse=True)
        net = run.problem.network().double().eval()
        for level in run.progress(_descent(net, x, labels, levels, self.iterations), "losses"):
            place = {0: START, len(levels): END}.get(level, "")
            rows = run.part("spectra", lambda place=place: self._spectra(net, x, labels, place), level=level)
            threshold = {"threshold": levels[level - 1]} if level else {}
            run.part("losses", lambda rows=rows, t=threshold: t | _compare(rows), level=level)
        rows = run.table("losses")
        near = [row for row in rows if row["loss"] <= NEAR]
        return {
            "slope": log_slope(near, "loss", "difference"),
            "difference": rows[-1]["difference"],
            "loss": rows[-1]["loss"],
            "difference_at_start": rows[0]["difference"],
            "over_bound": max(row["over_bound"] for row in rows),
            "kernel_error": max(row["kernel_error"] for row in rows),
        }

    def _spectra(self, net: nn.Module, x: Tensor, labels: Tensor, place: str) -> list[dict]:
        found = hessian_spectra(net, x, labels, self.count)
        values = zip(found.hessian.tolist(), found.gauss_newton.tolist(), found.kernel.tolist(), strict=True)
        return [
            dict(zip(("hessian", "gauss_newton", "kernel"), row, strict=True))
            | {"index": index, "place": place, "loss": found.loss, "bound": found.bound}
            for index, row in enumerate(values, start=1)
        ]


def _descent(net: nn.Module, x: Tensor, labels: Tensor, levels: list[float], iterations: int) -> Iterator[int]:
    """0 at the start, and i where the loss first is at most the i-th of ``levels``; then ``net`` has those weights."""
    options: dict[str, Any] = {"max_iter": PATCH, "history_size": 50, "tolerance_grad": 0, "tolerance_change": 0}
    optimizer = torch.optim.LBFGS(net.parameters(), line_search_fn="strong_wolfe", **options)

    def closure() -> Tensor:
        optimizer.zero_grad()
        outputs = net(x)
        loss = (outputs - F.one_hot(labels, outputs.shape[1])).square().sum() / (2 * len(x))
        loss.backward()
        return loss

    yield 0
    for index, level in enumerate(levels, start=1):
        while not closure() <= level:
            if iterations <= 0:
                return
            optimizer.step(closure)
            iterations -= PATCH
        yield index


def _compare(rows: list[dict]) -> dict:
    differences = [abs(row["hessian"] - row["gauss_newton"]) for row in rows]
    values, bound = [row["gauss_newton"] for row in rows], rows[0]["bound"]
    return {
        "loss": rows[0]["loss"],
        "difference": max(difference / value for difference, value in zip(differences, values, strict=True)),
        "weyl_bound": bound / values[-1],
        "over_bound": max(differences) / bound,
        "kernel_error": max(abs(row["kernel"] / row["gauss_newton"] - 1) for row in rows),
    }
