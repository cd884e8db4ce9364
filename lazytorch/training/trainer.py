"""Training of a centered model: read top to bottom, this is what a run does.

Resume policy: a checkpoint is written at the end of every epoch, and in the middle of one when the run is asked to stop
(SIGTERM, Ctrl-C). A run that is killed goes on from the last checkpoint and ends with bit-identical results on the CPU:
batches are a function of (seed, epoch), and generator states are in the checkpoint.
"""

import functools
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..anchored import Anchored
from ..data import DeviceData
from ..runs import RunDirectory
from . import checkpoint
from .checks import check_counts, check_outputs, check_positive, check_seed, check_type, check_within, on_device
from .evaluation import evaluate
from .fit import fit_together
from .interrupt import StopRequest
from .loggers import TensorBoard
from .objective import Objective, correct, find_objective
from .precision import autocast, check_precision, data_type
from .probes import Probe, standard_probes
from .randomness import random_states, restore_random
from .schedule import learning_rate

STABILITY_INPUTS = 500
SUMMARY = (
    "train_accuracy",
    "test_accuracy",
    "train_loss",
    "test_loss",
    "displacement",
    "ntk_drift",
    "kernel_distance",
    "activation_stability",
)
SHOWN = {"train": "train_accuracy", "test": "test_accuracy"}


class Trainer:
    """SGD with momentum on theta for R(D_eps f(theta)), with eta_t = lr / (1 + beta t) at epoch t.

    This is the paper's SGD on w for R(alpha h(w)) / alpha^2 at the same rate (Chizat, Oyallon & Bach 2019, sec. 3.2).

    Args:
        model: a CenteredModel or LinearizedModel; the data follow it to its device.
        train, test: :class:`DeviceData` (which holds augmentation and normalisation), or (inputs, labels) tensors, or a
            Dataset of such pairs. Labels are class indices, or targets of the outputs' shape.
        loss: "mse", "cross_entropy", or a function (outputs, labels) -> mean loss of the batch.
        batch_size: the last batch of an epoch may be smaller.
        probes: measurements taken at every evaluation; None for :func:`standard_probes` on the first ``probe_size``
            test inputs (activations on the first 500).
        run_dir: where metrics, summary, checkpoints and TensorBoard logs go; None writes nothing.
        precision: float32, tf32, bf16 (autocast) or float64 (the model must be in it).
        evaluate_every: epochs between evaluations, besides epoch 0 and the last.

    Raises:
        ValueError: a setting out of range, named with its remedy; outputs that do not fit the labels.
    """

    def __init__(
        self,
        model: Anchored,
        train: DeviceData | Dataset | tuple[Tensor, Tensor],
        test: DeviceData | Dataset | tuple[Tensor, Tensor],
        loss: str | Objective = "mse",
        lr: float = 1.0,
        momentum: float = 0.9,
        beta: float = 1 / 3,
        batch_size: int = 128,
        probes: Sequence[Probe] | None = None,
        run_dir: str | os.PathLike | RunDirectory | None = None,
        seed: int = 0,
        precision: str = "float32",
        evaluate_every: int = 1,
        probe_size: int = 16,
    ):
        check_positive(lr=lr)
        check_counts(batch_size=batch_size, evaluate_every=evaluate_every, probe_size=probe_size)
        check_within(momentum=(momentum, 0, 1), beta=(beta, 0, math.inf))
        check_seed(seed)
        if not isinstance(model, Anchored):
            raise TypeError(f"model is a {type(model).__name__}: wrap it, as lazytorch.CenteredModel(model, alpha)")
        self.device = next(model.parameters()).device
        check_precision(precision, self.device)
        check_type(model, precision)
        self.model, self.objective, self.precision = model, find_objective(loss), precision
        self.lr, self.beta, self.batch_size, self.seed = lr, beta, batch_size, seed
        self.evaluate_every = evaluate_every
        self.train, self.test = (on_device(data, self.device, data_type(precision)) for data in (train, test))
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)
        self.run = run_dir if isinstance(run_dir, RunDirectory) or run_dir is None else RunDirectory(run_dir)
        self.settings = {
            "alpha": model.alpha,
            "loss": loss if isinstance(loss, str) else getattr(loss, "__qualname__", type(loss).__qualname__),
            "lr": float(lr),
            "momentum": float(momentum),
            "beta": float(beta),
            "batch_size": batch_size,
            "seed": seed,
            "precision": precision,
        }
        if probes is None:
            probes = standard_probes(self.test.head(probe_size)[0], self.test.head(STABILITY_INPUTS)[0])
        self.autocast = functools.partial(autocast, precision, self.device)
        check_outputs(model, self.train, self.test, self.objective, self.autocast)
        self.probes = tuple(probes)
        self.stop, self.status = StopRequest(), "running"
        # What a checkpoint restores, beside model and optimizer.
        self.epoch, self.step, self.seconds, self.best = 0, 0, 0.0, -math.inf
        self.totals = torch.zeros(2, dtype=torch.float64, device=self.device)  # of this epoch: loss, correct
        self.last: dict | None = None  # the last good row of metrics
        self.random = None

    # ---- the run

    def fit(self, epochs: int) -> dict:
        """Train up to ``epochs`` epochs in all and return the summary, as summary.json holds it (alpha inf as "inf").

        Status is "finished"; "diverged" where the loss became non-finite, with the last good measurements; or
        "interrupted" after SIGTERM or Ctrl-C, with a checkpoint from which another call goes on.
        """
        return fit_together([self], epochs)[0]

    # What :func:`fit_together` asks of each of its trainers.

    def begin(self, stop: StopRequest, epochs: int) -> None:
        """Open the logs, and measure what is not yet measured. ``stop`` is where a request to stop is seen."""
        self.stop, self.status = stop, "running"
        started = time.monotonic() - self.seconds
        self._clock = lambda: time.monotonic() - started
        restore_random(self.random, self.seed, self.device)
        self._open_logs()
        if self.last is None or (self.epoch >= epochs and self.last["epoch"] != self.epoch):
            self._evaluate(None)
        self.random = random_states(self.device)

    def is_running(self, epochs: int) -> bool:
        """Whether there is more to train."""
        return self.status == "running" and self.epoch < epochs

    def begin_epoch(self) -> None:
        """Set training mode and the epoch's learning rate."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.lr, self.beta, self.epoch)

    def learn(self, outputs: Tensor, y: Tensor) -> None:
        """One step of SGD from the model's outputs on a batch. Nothing here waits for the device."""
        outputs = outputs.to(self.train.dtype)
        loss = self.objective(outputs, y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.totals += torch.stack([loss.detach() * len(outputs), correct(outputs.detach(), y)])
        self.step += 1

    def is_finite(self) -> bool:
        """Whether every loss of this epoch was finite; else the run has diverged. Waits for the device."""
        if not math.isfinite(self.totals[0].item()):  # one non-finite loss makes the sum so
            self.status = "diverged"
        return self.status != "diverged"

    def end_epoch(self, epochs: int) -> None:
        """Measure and checkpoint; in the middle of an epoch that was asked to stop, checkpoint alone."""
        if not self.is_finite():
            return
        if self.stop.signal is None:
            running = self.totals[1].item() / len(self.train)
            self.epoch, self.step = self.epoch + 1, 0
            self.totals.zero_()
            if self.epoch % self.evaluate_every == 0 or self.epoch == epochs:
                self._evaluate(running)
        if self.status == "running":
            self._save("last")
        self.random = random_states(self.device)

    def _evaluate(self, running_accuracy: float | None) -> None:
        """Measure, and if all is finite record it. ``running_accuracy`` is that of the epoch's augmented batches."""
        row = {"epoch": self.epoch, "alpha": self.model.alpha}
        row["learning_rate"] = learning_rate(self.lr, self.beta, self.epoch)
        row["train_accuracy_running"] = running_accuracy
        row["train_loss"], row["train_accuracy"] = evaluate(self.model, self.train, self.objective, self.autocast)
        row["test_loss"], row["test_accuracy"] = evaluate(self.model, self.test, self.objective, self.autocast)
        if not math.isfinite(row["train_loss"] + row["test_loss"]):
            self.status = "diverged"
            return
        for probe in self.probes:
            row |= probe(self.model)
        row |= {"epochs": self.epoch, "seconds": self._clock()}
        self.last = row
        if self.run is not None:
            self.run.append(row)
            self.tensorboard.log(row)
        if row["test_accuracy"] is not None and row["test_accuracy"] > self.best:
            self.best = row["test_accuracy"]
            self._save("best")

    # ---- records

    def finish(self, epochs: int) -> dict:
        """Close the logs and write the summary, which is returned."""
        if self.status == "running":
            self.status = "interrupted" if self.epoch < epochs else "finished"
        self.seconds = self._clock()
        row = self.last or {}
        summary = {"alpha": "inf" if self.model.alpha == math.inf else self.model.alpha, "status": self.status}
        summary |= {name: row.get(name) for name in SUMMARY}
        summary |= {"epochs": self.epoch, "seconds": self.seconds}
        if self.run is not None:
            self.tensorboard.close(row)
            self.run.write_summary(summary)
        return summary

    def _open_logs(self) -> None:
        if self.run is not None:
            self._create_run()
            self.run.truncate(self.epoch if self.last else -1)
            self.tensorboard = TensorBoard(self.run, self.settings, self.epoch + 1 if self.last else 0)

    def _create_run(self) -> None:
        """Write the run's configuration, unless the command line has, which knows more."""
        if self.run.exists and "model" in self.run.config:
            return
        if self.last is None:
            self.run.clear()
        sizes = {"train_size": len(self.train), "test_size": len(self.test)}
        self.run.create(self.settings, {"torch": str(torch.__version__)}, self.fingerprint | sizes)

    def describe(self) -> str:
        """Where the run is, in a few words."""
        row = self.last or {}
        accuracies = [f"{name} {row[key]:.3f}" for name, key in SHOWN.items() if row.get(key) is not None]
        return ", ".join([f"alpha={self.model.alpha:g} epoch {self.epoch}", *accuracies])

    # ---- checkpoints

    @functools.cached_property
    def fingerprint(self) -> dict[str, str]:
        """Of the data, train and test."""
        return {"train": self.train.fingerprint(), "test": self.test.fingerprint()}

    def _save(self, name: str) -> None:
        if self.run is None:
            return
        state = {
            "settings": self.settings | self.fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "totals": self.totals,
            "seconds": self._clock(),
            "best": self.best,
            "last": self.last,
            "random": random_states(self.device),
        }
        checkpoint.save(self.run.checkpoint(name), state)

    def resume(self, path: str | os.PathLike | None = None) -> bool:
        """Go on from the run's own last checkpoint, if it has one; or from ``path``, which must be of the same model.

        Call before ``fit``. Returns whether there was a checkpoint.

        Raises:
            FileNotFoundError, ValueError: the file is missing, damaged, or of another model or configuration.
        """
        own = path is None
        path = self.run.checkpoint("last") if own else Path(path)
        if own and not path.exists():
            return False
        state = checkpoint.load(path)
        current = self.settings | self.fingerprint if own else {"alpha": self.settings["alpha"]}
        checkpoint.check_settings(path, state["settings"], current)
        checkpoint.check_model(path, state["model"], self.model.state_dict())
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["momentum"] = self.settings["momentum"]
        self.epoch, self.step, self.seconds, self.best = (state[k] for k in ("epoch", "step", "seconds", "best"))
        self.totals.copy_(state["totals"])
        self.last, self.random = state["last"], state["random"]
        return True
