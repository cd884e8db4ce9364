"""Grokking: between lazy and rich the training loss falls first, and the test loss long after it, if at all."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..anchored import check_alpha
from ..centered import CenteredModel
from ..reports import Claim, Figure, Panel, Report, Table
from ..theory.grokking import MomentDescent, Moments, Quadratic, QuadraticNetwork, kernel_regression
from .experiment import Experiment
from .fields import key
from .run import Run

THRESHOLD = 0.1  # of mean y^2, below which a set counts as learnt
EXACT = 1e-9  # of the trained network's outputs over the reduction's, in float64
RECORDED, SHOWN = 80, 10  # steps, and of the checked ones those of the network, in geometric progression
SOURCE = "Kumar, Bordelon, Gershman & Pehlevan, ICLR 2024"


def _rising(values: Mapping) -> bool:
    """Whether a group of the summary rises from one alpha to the next; never is infinite."""
    found = [math.inf if value is None else value for value in values.values()]
    return all(a < b or a == b == math.inf for a, b in pairwise(found))


def _before(first: Mapping, second: Mapping) -> bool:
    """Whether ``first`` was reached at every alpha, and before ``second``."""
    return all(a is not None and (second[alpha] is None or a < second[alpha]) for alpha, a in first.items())


@dataclass(frozen=True)
class Grokking(Experiment):
    """A network of quadratic neurons learns (beta . x)^2 / 2 from few samples, centered and scaled: for large alpha it
    fits them with the kernel that it starts from, for small alpha the kernel turns to the task, after the training loss
    has fallen.

    x ~ N(0, I / D), beta and weights ~ N(0, I), full-batch gradient descent of size c N on theta for the mean square.
    All steps are those of the exact reduction to moments (:mod:`lazytorch.theory.grokking`), the first ``checked``
    beside the network itself, trained as a :class:`lazytorch.CenteredModel`. Losses are over the mean of y^2; test loss
    and alignment are those of the whole distribution, exactly. Cost of a step: half a millisecond for each alpha, a few
    where the network is trained.
    """

    alphas: tuple[float, ...] = key((0.25, 1.0, 4.0, 16.0, math.inf), "scales, from rich to lazy, in this order")
    dimension: int = key(40, "D of the inputs", at_least=1)
    samples: int = key(240, "P for training", at_least=2)
    width: int = key(400, "N neurons", at_least=1)
    curvature: float = key(0.25, "eps of phi(h) = h + eps h^2 / 2", above=0)
    rate: float = key(0.5, "c: the step is c N on theta, c N / alpha^2 on w", above=0)
    steps: int = key(30_000, "of full-batch gradient descent", at_least=1)
    checked: int = key(500, "first steps, in which the network itself is trained too", at_least=1)

    report: ClassVar[Report] = Report(
        Figure(
            "grokking",
            *(
                Panel(
                    "curves",
                    x="step",
                    y=f"{name}_loss",
                    by="alpha",
                    marks=f"network_{name}_loss",
                    bounds=bounds,
                    xscale="log",
                    yscale="log",
                    ylabel="loss over mean square of y",
                    title=title,
                )
                for name, title, bounds in (("train", "training", ()), ("test", "test", ("regression",)))
            ),
            Panel("curves", x="step", y="alignment", by="alpha", xscale="log", yscale="log", title="kernel and task"),
            caption="Lines: the exact reduction to moments; marks: the network itself, in its first steps. The level: "
            "regression with the kernel at w_0. Right the centered alignment of the tangent kernel with the task.",
        ),
        Figure(
            "delay",
            Panel("milestones", x="alpha", y=("train_step", "test_step"), yscale="log", ylabel="steps to a tenth"),
            caption="Steps after which the loss is below a tenth of the mean of y^2, where it ever is.",
        ),
        Table(columns=("network_error", "regression")),
        Table("milestones"),
        Claim(
            f"the trained network and its reduction to moments differ by less than {EXACT:g} in the checked steps",
            lambda summary: summary["network_error"] < EXACT,
            source=SOURCE,
        ),
        Claim(
            "at every alpha the training loss falls below a tenth of the mean of y^2 before the test loss does",
            lambda summary: _before(summary["train_step"], summary["test_step"]),
            source=SOURCE,
        ),
        Claim(
            "the test loss lags the more the larger alpha, in steps and as a multiple of the training loss's",
            lambda summary: _rising(summary["lag"]) and _rising(summary["delay"]),
            source=SOURCE,
        ),
        Claim(
            "the test loss at the end rises with alpha; at finite alpha it is below regression with the kernel at w_0",
            lambda summary: (
                _rising(summary["final_test_loss"])
                and all(
                    loss < summary["regression"]
                    for alpha, loss in summary["final_test_loss"].items()
                    if float(alpha) < math.inf
                )
            ),
            source=SOURCE,
        ),
        Claim(
            "at every finite alpha the kernel's alignment with the task rises, the more the smaller alpha",
            lambda summary: (
                _rising({alpha: -gain for alpha, gain in summary["alignment_gain"].items()})
                and all(gain > 0 for alpha, gain in summary["alignment_gain"].items() if float(alpha) < math.inf)
            ),
            source=SOURCE,
        ),
    )
    smoke = ("dimension=8", "samples=24", "width=20", "steps=300", "checked=5", "alphas=[0.25,inf]")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range."""
        super().check()
        if not self.alphas or any(a >= b for a, b in pairwise(self.alphas)):
            raise ValueError("alphas are scales in rising order: give one or more, as alphas=[0.25,1,inf]")
        for alpha in self.alphas:
            check_alpha(alpha)

    def run(self, run: Run) -> dict:
        """curves.csv: losses and alignment by alpha and step; milestones.csv: what they tell, by alpha."""
        task = _Task(self)
        for alpha in run.progress(self.alphas, "alpha"):
            rows = run.part("curves", lambda a=alpha: list(self._curve(task, a)), alpha=alpha)
            run.part("milestones", lambda rows=rows: _milestones(rows[-1], task.alignment), alpha=alpha)
        milestones = run.table("milestones")
        by_alpha = {
            name: {f"{row['alpha']:g}": row[name] for row in milestones} for name in milestones[0] if name != "alpha"
        }
        errors = by_alpha.pop("network_error")
        return {"network_error": max(errors.values()), "regression": task.regression} | by_alpha

    def _curve(self, task: "_Task", alpha: float) -> Iterator[dict]:
        """Rows at some steps, with those at which training and test loss fell below the threshold, once they have."""
        descent = MomentDescent(task.x, task.y, task.start, self.curvature, alpha, self.rate)
        shown, recorded = _spaced(min(self.checked, self.steps), SHOWN), _spaced(self.steps, RECORDED)
        network, error = self._train(task, alpha), 0.0
        learnt: dict[str, int | None] = {"train_step": None, "test_step": None}
        for step in range(self.steps + 1):
            outputs = descent.function(task.x)
            row = {"step": step} | task.losses(outputs, descent.function)
            for name in ("train", "test"):
                if learnt[f"{name}_step"] is None and row[f"{name}_loss"] < THRESHOLD:
                    learnt[f"{name}_step"] = step
            trained = next(network) if step <= self.checked else None
            if trained and step:
                error = max(error, ((trained[0] - outputs).norm() / outputs.norm()).item())
                if step in shown:
                    row |= {f"network_{name}": loss for name, loss in task.losses(*trained).items()}
            if step in shown | recorded:
                alignment = descent.moments.alignment(task.target, self.curvature)
                level = task.regression if alpha == self.alphas[-1] else None  # one line in the figure
                yield row | learnt | {"alignment": alignment, "network_error": error, "regression": level}
            descent.step(outputs - task.y)

    def _train(self, task: "_Task", alpha: float) -> Iterator[tuple[Tensor, Quadratic]]:
        """The network's outputs and function before the first step, and after each."""
        model = CenteredModel(QuadraticNetwork(task.weights, self.curvature), alpha)
        optimizer = torch.optim.SGD(model.parameters(), lr=self.rate * self.width)
        while True:
            outputs = model(task.x)
            yield outputs.detach(), Quadratic.of(model)
            optimizer.zero_grad()
            (outputs - task.y).square().mean().backward()
            optimizer.step()


class _Task:
    """Weights, inputs and targets, drawn from the seed, losses over the mean of y^2, and what the start tells."""

    def __init__(self, experiment: Grokking):
        generator = torch.Generator().manual_seed(experiment.seed)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        dimension, self.curvature = experiment.dimension, experiment.curvature
        self.weights, beta = draw(experiment.width, dimension), draw(dimension)
        self.x = draw(experiment.samples, dimension) / dimension**0.5
        self.target = Quadratic(torch.zeros_like(beta), torch.outer(beta, beta) / 2)
        self.y, self.start = self.target(self.x), Moments.of(self.weights)
        self.alignment = self.start.alignment(self.target, self.curvature)
        fitted = kernel_regression(self.x, self.y, self.start, self.curvature)
        self.regression = self.losses(fitted(self.x), fitted)["test_loss"]

    def losses(self, outputs: Tensor, function: Quadratic) -> dict[str, float]:
        """Of the outputs on the training inputs, and of the function on the whole distribution."""
        train = (outputs - self.y).square().mean() / self.y.square().mean()
        return {
            "train_loss": train.item(),
            "test_loss": (function - self.target).mean_square() / self.target.mean_square(),
        }


def _spaced(last: int, count: int) -> set[int]:
    return {round(step) for step in np.geomspace(1, last, count)}


def _milestones(last: dict, alignment: float) -> dict:
    """How far apart training and test loss fall below the threshold, and where all ends, from the last row."""
    train, test = last["train_step"], last["test_step"]
    return {
        "train_step": train,
        "test_step": test,
        "lag": None if train is None or test is None else test - train,
        "delay": None if train is None or test is None else test / train,
        "final_train_loss": last["train_loss"],
        "final_test_loss": last["test_loss"],
        "alignment_start": alignment,
        "alignment_end": last["alignment"],
        "alignment_gain": last["alignment"] - alignment,
        "network_error": last["network_error"],
    }
