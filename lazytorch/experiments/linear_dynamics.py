"""Trained models against the closed form: alpha = inf follows it step for step, finite alpha departs like 1/alpha."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..anchored import Anchored, check_alpha
from ..centered import CenteredModel
from ..kernels import empirical_ntk
from ..reports import Claim, Figure, Panel, Report, Table
from ..theory import LinearDynamics as ClosedForm
from ..theory import Trajectory
from ..training import Trainer
from .fields import key
from .problem import NetworkExperiment, Problem
from .run import Run
from .slopes import log_slope

ERROR = 1e-5  # of float32 over some hundreds of steps


@dataclass(frozen=True)
class Momentum:
    """SGD of a given step."""

    momentum: float = key(0.9, "heavy-ball momentum", at_least=0, below=1)


@dataclass(frozen=True)
class LinearDynamics(NetworkExperiment):
    """Full-batch gradient descent with momentum at alpha = inf, in float32, over its closed form in the eigenbasis of
    the tangent kernel, on training and test points; and how finite alpha, trained in float64, departs from it.

    r_{t+1} = (I - (2 eta / nK) Theta) r_t without momentum; with it see :class:`lazytorch.theory.LinearDynamics`.
    """

    optimizer: Momentum = key(factory=Momentum, meaning="SGD, whose steps have the size ``step``")
    steps: int = key(200, "of full-batch gradient descent", at_least=1)
    step: float = key(0.9, "their size, as a share of the largest stable one", above=0, below=1)
    alphas: tuple[float, ...] = key((1e2, 1e3, 1e4, 1e5, 1e6), "finite scales whose departure is measured")

    report: ClassVar[Report] = Report(
        Figure(
            "dynamics",
            Panel(
                "curves",
                x="step",
                y=("train_loss_predicted", "test_loss_predicted"),
                marks=("train_loss", "test_loss"),
                yscale="log",
                title="alpha = inf",
            ),
            Panel(
                "departure",
                x="alpha",
                y=("train", "test"),
                guides=(-1,),
                yscale="log",
                ylabel="largest relative departure",
                title="finite alpha",
            ),
            caption="Left the losses at alpha = inf: marks trained in float32, lines in closed form; right the largest "
            "|F - F_predicted| / |F_predicted| over all steps at finite alpha, trained in float64.",
        ),
        Table("departure"),
        Claim(
            f"at alpha = inf the trained outputs err by less than {ERROR:g} at every step",
            lambda summary: all(
                summary[name] is not None and summary[name] < ERROR for name in ("train_error", "test_error")
            ),
            source="closed form of gradient descent on a linear model",
        ),
        Claim(
            "finite alpha departs from the linear dynamics like 1/alpha (slope -1 within 0.05)",
            lambda summary: None if summary["departure_slope"] is None else abs(summary["departure_slope"] + 1) < 0.05,
            source="Chizat, Oyallon & Bach 2019, section 2",
        ),
    )

    smoke = ("data.train_size=20", "data.test_size=10", "model.width=16", "steps=10", "alphas=[1e2,1e4]")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that full-batch training has no use for."""
        super().check()
        if not self.alphas or any(check_alpha(alpha) == math.inf for alpha in self.alphas):
            raise ValueError("alphas are the finite ones, inf is always trained: give one or more, as alphas=[1e2,1e3]")
        self.check_whole_sets()

    def prepare(self, run: Run) -> None:
        """Raise ValueError if the network is another one while it trains, which has no closed form."""
        run.problem.check_one_mode("for which there is no closed form")

    def run(self, run: Run) -> dict:
        """curves.csv: losses and errors by step at alpha = inf; departure.csv: the largest error by alpha."""
        problem, momentum = run.problem, self.optimizer.momentum
        closed = _closed_form(problem)
        lr = self.step * closed.largest_stable_step(momentum)
        predicted = closed.descent(range(self.steps + 1), lr, momentum)
        curves = run.part("curves", lambda: _curves(self._train(problem, math.inf, "float32", lr), predicted))
        for alpha in run.progress(self.alphas, "departure"):
            run.part("departure", lambda a=alpha: self._departure(problem, a, lr, predicted), alpha=alpha)
        departures = run.table("departure")
        start, end = curves[0], curves[-1]
        return {
            "train_error": max(row["train_error"] for row in curves),
            "test_error": max(row["test_error"] for row in curves),
            "departure_slope": log_slope(departures, "alpha", "train"),
            "train_loss_start": start["train_loss"],
            **{name: value for name, value in end.items() if name.endswith(("loss", "predicted"))},
            "lr": lr,
            "largest_stable_step": closed.largest_stable_step(momentum),
            "condition_number": (closed.eigenvalues[-1] / closed.eigenvalues[0]).item(),
            "clipped": closed.clipped,
            "clipped_residual": closed.clipped_residual,
        }

    def _departure(self, problem: Problem, alpha: float, lr: float, predicted: Trajectory) -> dict:
        trained = self._train(problem, alpha, "float64", lr)
        pairs = {
            "train": (trained.outputs, predicted.outputs),
            "test": (trained.test_outputs, predicted.test_outputs),
        }
        return {name: _errors(*pair).max().item() for name, pair in pairs.items()}

    def _train(self, problem: Problem, alpha: float, precision: str, lr: float) -> Trajectory:
        """The outputs and losses before the first step and after each, of what could be trained before it diverged."""
        train, test = problem.data(precision)
        probes = [_Outputs(data.head(len(data))[0]) for data in (train, test)]
        Trainer(
            CenteredModel(problem.network().to(dtype=train.dtype), alpha),
            train,
            test,
            lr=lr,
            momentum=self.optimizer.momentum,
            beta=0,
            batch_size=len(train),
            probes=probes,
            seed=self.seed,
            precision=precision,
        ).fit(self.steps)
        outputs, test_outputs = (torch.stack(probe.kept) for probe in probes)
        return Trajectory(outputs, _losses(outputs, train), test_outputs, _losses(test_outputs, test))


class _Outputs:
    """A probe that keeps the outputs on the inputs ``x``."""

    def __init__(self, x: Tensor):
        self.x, self.kept = x, []

    def __call__(self, model: Anchored) -> dict:
        self.kept.append(model(self.x).double())
        return {}


def _closed_form(problem: Problem) -> ClosedForm:
    net = problem.network().double()
    (x, y), (test_x, test_y) = (data.head(len(data)) for data in problem.data("float64"))
    return ClosedForm(empirical_ntk(net, x), y, empirical_ntk(net, test_x, x), test_y)


def _losses(outputs: Tensor, data) -> Tensor:
    targets = torch.nn.functional.one_hot(data.labels, outputs.shape[-1])
    return (outputs - targets).square().mean((1, 2))


def _errors(trained: Tensor, predicted: Tensor) -> Tensor:
    """|F - F_predicted| / |F_predicted| at each step, 0 at the first; inf where training has diverged."""
    errors = predicted.new_full((len(predicted),), math.inf)
    reached = predicted[: len(trained)]
    errors[: len(trained)] = (trained - reached).flatten(1).norm(dim=1) / reached.flatten(1).norm(dim=1)
    errors[0] = 0
    return errors


def _curves(trained: Trajectory, predicted: Trajectory) -> list[dict]:
    assert trained.test_outputs is not None and trained.test_losses is not None
    assert predicted.test_outputs is not None and predicted.test_losses is not None
    lost = [math.nan] * (len(predicted.losses) - len(trained.losses))  # after a divergence
    columns = {
        "step": range(len(predicted.losses)),
        "train_loss": trained.losses.tolist() + lost,
        "train_loss_predicted": predicted.losses.tolist(),
        "test_loss": trained.test_losses.tolist() + lost,
        "test_loss_predicted": predicted.test_losses.tolist(),
        "train_error": _errors(trained.outputs, predicted.outputs).tolist(),
        "test_error": _errors(trained.test_outputs, predicted.test_outputs).tolist(),
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
