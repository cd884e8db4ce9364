"""Trained models against the closed form: alpha = inf follows it step for step, finite alpha departs like 1/alpha."""

import copy
import csv
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..anchored import Anchored, check_alpha
from ..centered import CenteredModel
from ..kernels import empirical_ntk
from ..reports.dynamics import dynamics_figure
from ..reports.style import save
from ..runs import RunDirectory
from ..theory import LinearDynamics, Trajectory
from ..training import Trainer
from ..training.checks import check_counts, check_within
from .measurement import Problem, measure

KEYS = {"data.test_size", "optimizer.momentum", "steps", "step", "alphas"}


def run(config: dict) -> RunDirectory:
    """Train by ``steps`` full-batch steps of ``step`` times the largest stable size, and compare with the closed form.

    The alpha = inf model trains in float32, those at ``alphas`` in float64; kernel and closed form are in float64. The
    run directory receives curves.csv (losses and errors by step), departure.csv (by alpha) and dynamics.{png,pdf}.

    Raises:
        ValueError, TypeError: a setting out of range, and what ``measure`` raises.
    """
    check_counts(steps=config["steps"])
    check_within(step=(config["step"], 1e-6, 1), momentum=(config["optimizer"]["momentum"], 0, 1))
    if not isinstance(config["alphas"], list) or not config["alphas"]:
        raise ValueError(f"alphas is {config['alphas']!r}: give a list, as alphas=[1e2,1e3]")
    if any(check_alpha(alpha) == math.inf for alpha in config["alphas"]):
        raise ValueError("alphas are the finite ones, inf is always trained: leave it out")
    return measure(config, _measure, _check_training_mode)


@torch.no_grad()
def _check_training_mode(problem: Problem) -> None:
    """Raise ValueError if the network is another one while it trains, which has no closed form."""
    x, _ = problem.data("float32")[0].head(8)
    net = copy.deepcopy(problem.net)
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        if not torch.equal(net.eval()(x), net.train()(x)):
            raise ValueError(
                "the network's outputs are others in training mode (dropout, batch norm), for which there is no closed "
                "form: use a model without"
            )


def _measure(problem: Problem, path: Path) -> dict:
    steps, momentum = problem.config["steps"], problem.config["optimizer"]["momentum"]
    dynamics = _dynamics(problem)
    lr = problem.config["step"] * dynamics.largest_stable_step(momentum)
    predicted = dynamics.descent(range(steps + 1), lr, momentum)
    trained = _train(problem, math.inf, "float32", lr)
    errors = _errors(trained, predicted)
    _write_curves(path / "curves.csv", trained, predicted, errors)
    departures = []
    for alpha in problem.config["alphas"]:
        departure = [e.max().item() for e in _errors(_train(problem, alpha, "float64", lr), predicted)]
        departures.append((alpha, *departure))
        _write(path / "departure.csv", ("alpha", "train", "test"), departures)
    save(dynamics_figure(path), path / "dynamics")
    return {
        "lr": lr,
        "largest_stable_step": dynamics.largest_stable_step(momentum),
        "train_loss_start": trained.losses[0].item(),
        "train_loss": trained.losses[-1].item(),
        "train_loss_predicted": predicted.losses[-1].item(),
        "test_loss": trained.test_losses[-1].item(),
        "test_loss_predicted": predicted.test_losses[-1].item(),
        "error": errors[0].max().item(),
        "test_error": errors[1].max().item(),
        "loss_error": _loss_error(trained, predicted),
        "departure_slope": _slope(departures),
        "condition_number": (dynamics.eigenvalues[-1] / dynamics.eigenvalues[0]).item(),
        "clipped": dynamics.clipped,
        "clipped_residual": dynamics.clipped_residual,
    }


def _dynamics(problem: Problem) -> LinearDynamics:
    net = copy.deepcopy(problem.net).double()
    (x, y), (test_x, test_y) = (data.head(len(data)) for data in problem.data("float64"))
    return LinearDynamics(empirical_ntk(net, x), y, empirical_ntk(net, test_x, x), test_y)


class Outputs:
    """A probe that keeps the outputs on the inputs ``x``."""

    def __init__(self, x: Tensor):
        self.x, self.kept = x, []

    @torch.no_grad()
    def __call__(self, model: Anchored) -> dict:
        self.kept.append(model(self.x).double())
        return {}


def _train(problem: Problem, alpha: float, precision: str, lr: float) -> Trajectory:
    """The outputs and losses before the first step and after each, of what could be trained before it diverged."""
    train, test = problem.data(precision)
    net = copy.deepcopy(problem.net).to(dtype=train.dtype)
    probes = [Outputs(data.head(len(data))[0]) for data in (train, test)]
    momentum, seed = problem.config["optimizer"]["momentum"], problem.config["seed"]
    trainer = Trainer(
        CenteredModel(net, alpha),
        train,
        test,
        lr=lr,
        momentum=momentum,
        beta=0,
        batch_size=len(train),
        probes=probes,
        seed=seed,
        precision=precision,
    )
    trainer.fit(problem.config["steps"])
    if trainer.stop.signal is not None:
        raise KeyboardInterrupt(trainer.stop.signal)
    outputs, test_outputs = (torch.stack(probe.kept) for probe in probes)
    return Trajectory(outputs, _losses(outputs, train), test_outputs, _losses(test_outputs, test))


def _losses(outputs: Tensor, data) -> Tensor:
    targets = torch.nn.functional.one_hot(data.labels, outputs.shape[-1])
    return (outputs - targets).square().mean((1, 2))


def _errors(trained: Trajectory, predicted: Trajectory) -> tuple[Tensor, Tensor]:
    """|F - F_predicted| / |F_predicted| after each step, at train and test points; inf where training has diverged."""
    return tuple(_relative(getattr(trained, name), getattr(predicted, name)) for name in ("outputs", "test_outputs"))


def _relative(outputs: Tensor, expected: Tensor) -> Tensor:
    errors = expected.new_full((len(expected),), math.inf)
    reached = expected[: len(outputs)]
    errors[: len(outputs)] = (outputs - reached).flatten(1).norm(dim=1) / reached.flatten(1).norm(dim=1)
    return errors[1:]  # at step 0 both are 0


def _loss_error(trained: Trajectory, predicted: Trajectory) -> float:
    if len(trained.losses) < len(predicted.losses):
        return math.inf
    return ((trained.losses - predicted.losses).abs() / predicted.losses).max().item()


def _slope(departures: list[tuple[float, float, float]]) -> float | None:
    """d log departure / d log alpha at the training points, by least squares."""
    finite = [(math.log(alpha), math.log(train)) for alpha, train, _ in departures if 0 < train < math.inf]
    return float(np.polyfit(*zip(*finite, strict=True), 1)[0]) if len(finite) > 1 else None


def _write_curves(path: Path, trained: Trajectory, predicted: Trajectory, errors: tuple[Tensor, Tensor]) -> None:
    columns = {
        "step": range(len(predicted.losses)),
        "train_loss": trained.losses.tolist(),
        "train_loss_predicted": predicted.losses.tolist(),
        "test_loss": trained.test_losses.tolist(),
        "test_loss_predicted": predicted.test_losses.tolist(),
        "error": [0.0, *errors[0].tolist()],
        "test_error": [0.0, *errors[1].tolist()],
    }
    _write(path, columns, zip(*columns.values(), strict=False))


def _write(path: Path, names, rows) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([tuple(names), *rows])
