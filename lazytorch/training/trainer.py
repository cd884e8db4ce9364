"""Training as a library class: a model, data and settings in; a summary, and a run directory, out."""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..anchored import Anchored
from ..data import DeviceData, as_device_data
from ..runs import RunDirectory
from .checks import check_batches, check_counts, check_outputs, check_start, check_type
from .fingerprints import loss_fingerprint, network_fingerprint
from .loop import Member, train
from .objective import Objective, find_objective
from .precision import data_type
from .probes import STANDARD, declared_quantities, make_probes, name_of
from .settings import Settings
from .sinks import RunSink, Sink
from .state import State, check_model, check_settings, load_checkpoint
from .versions import versions

Data = DeviceData | Dataset | tuple[Tensor, Tensor] | tuple[np.ndarray, np.ndarray]


class Trainer:
    """SGD with momentum on theta for R(D_eps f(theta)), with eta_t = lr / (1 + beta t) at epoch t.

    This is the paper's SGD on w for R(alpha h(w)) / alpha^2 at the same rate (Chizat, Oyallon & Bach 2019, sec. 3.2).

    Args:
        model: a CenteredModel or LinearizedModel; the data follow it to its device.
        train, test: :class:`DeviceData` (which holds augmentation and normalisation), or (inputs, labels) tensors or
            numpy arrays, or a Dataset of such pairs. Labels are class indices, or targets of the outputs' shape.
        loss: "mse", "cross_entropy", or a function (outputs, labels) -> mean loss of the batch.
        batch_size: the last batch of an epoch may be smaller.
        probes: what is measured at every evaluation beside loss and accuracy: names (displacement, ntk, activations,
            linearization; all of them if None) and your own, functions or :class:`Probe` of the model. What is not
            listed is not measured.
        run_dir: where metrics, summary, checkpoints and TensorBoard logs go; None writes nothing.
        precision: float32, tf32, bf16 (autocast) or float64 (the model must be in it).
        evaluate_every: epochs between evaluations, besides epoch 0 and the last.
        probe_size: how many of the first test inputs the probes of names measure on.

    Raises:
        ValueError, TypeError: a setting out of range, named with its remedy; outputs that do not fit the labels.
    """

    def __init__(
        self,
        model: Anchored,
        train: Data,
        test: Data,
        loss: str | Objective = "mse",
        lr: float = 1.0,
        momentum: float = 0.9,
        beta: float = 1 / 3,
        batch_size: int = 128,
        probes: Sequence[str | Callable] | None = None,
        run_dir: str | os.PathLike | RunSink | None = None,
        seed: int = 0,
        precision: str = "float32",
        evaluate_every: int = 1,
        probe_size: int = 16,
    ):
        if not isinstance(model, Anchored):
            raise TypeError(f"model is a {type(model).__name__}: wrap it, as lazytorch.CenteredModel(model, alpha)")
        settings = Settings(loss, lr, momentum, beta, batch_size, seed, precision, evaluate_every)
        device = next(model.parameters()).device
        settings.check(device)
        check_counts(probe_size=probe_size)
        check_type(model, precision)
        data = [as_device_data(part, device, data_type(precision)) for part in (train, test)]
        objective = find_objective(loss)
        member = Member(
            State(model, _optimizer(model, settings), torch.zeros(2, dtype=torch.float64, device=device)),
            *data,
            settings,
            objective,
            output_shape=(),
            sink=Sink(),
            probes=list(make_probes(STANDARD if probes is None else probes, data[1].head(probe_size)[0])),
        )
        check_batches(model, data[0], batch_size)
        member.output_shape = check_outputs(model, *data, objective, member.autocast)
        check_start(model, data[0])
        self.member, self.model, self.device = member, model, device
        self.train, self.test, self.settings = *data, settings
        self.fingerprints = fingerprints(model.to_module(), member)
        self.record = settings.record() | {"alpha": model.alpha}
        if isinstance(run_dir, RunSink):
            member.sink = run_dir
        elif run_dir is not None:
            member.sink = _OwnRun(RunDirectory(run_dir), self, probes, probe_size)
        if isinstance(member.sink, RunSink):
            member.sink.settings, member.sink.fingerprints = self.record, self.fingerprints

    def fit(self, epochs: int) -> dict:
        """Train up to ``epochs`` epochs in all and return the summary, as summary.json holds it (alpha inf as "inf").

        Status is "finished", or "diverged" where the loss became non-finite, with the last good measurements.

        Raises:
            ValueError: ``run_dir`` holds another run; or the loss is not finite before the first step.
            RuntimeError: another process trains into ``run_dir``.
            KeyboardInterrupt: after SIGTERM or Ctrl-C, once the run is checkpointed; ``resume`` and ``fit`` go on.
        """
        return fit_together([self], epochs)[0]

    def resume(self, path: str | os.PathLike | None = None) -> bool:
        """Go on from the run's own last checkpoint, if it has one; or from ``path``, which must be of the same model.

        Call before ``fit``. Returns whether there was a checkpoint.

        Raises:
            FileNotFoundError, ValueError: the file is missing, damaged, or of another model or configuration; or there
                is neither ``path`` nor a run_dir.
        """
        own, sink = path is None, self.member.sink
        if own and not isinstance(sink, RunSink):
            raise ValueError("there is nothing to resume: give the Trainer a run_dir, or resume(path) a checkpoint")
        path = sink.run.checkpoint("last") if own else Path(path)
        if own and not path.exists():
            return False
        saved = load_checkpoint(path)
        there = saved["settings"] | saved["fingerprints"]
        check_settings(path, there, (self.record | self.fingerprints) if own else {"alpha": self.record["alpha"]})
        check_model(path, saved["model"], self.model.state_dict())
        self.member.state.load(saved)
        if own:
            sink.known = len(saved["rows"])
        return True

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return self.member.state.epoch


def fit_together(trainers: Sequence[Trainer], epochs: int) -> list[dict]:
    """Train several models at once, each to the result of its own ``fit(epochs)``, and return their summaries.

    Trainers of one module at several alphas and learning rates that were given the same :class:`DeviceData` to train on
    share the pass at w_0 (see :class:`SharedStart`): a step of A models costs (4 A + 1) / 5 steps of one. Others take
    turns, epoch by epoch. Raises what ``fit`` raises.
    """
    check_counts(epochs=epochs)
    return train([trainer.member for trainer in trainers], epochs)


def fingerprints(net: nn.Module, member: Member) -> dict[str, str]:
    """Of the data, the network at w_0 and the loss."""
    x, y = member.train.head(8)
    found = {"train": member.train.fingerprint(), "test": member.test.fingerprint()}
    found["network"] = network_fingerprint(net, x)
    if len(member.output_shape) == 1:
        found["loss"] = loss_fingerprint(member.objective, y, member.output_shape[0])
    return found


def _optimizer(model: Anchored, settings: Settings) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=settings.lr, momentum=settings.momentum)


class _OwnRun(RunSink):
    """A run directory that the Trainer creates, and holds the lock of while it trains."""

    def __init__(self, run: RunDirectory, trainer: Trainer, probes, probe_size: int):
        super().__init__(run)
        member, own = trainer.member, copy.copy(trainer.record)
        config = {"_target_": "lazytorch.Trainer", "alpha": own.pop("alpha"), "seed": own.pop("seed")}
        config["model"] = {"_target_": _path(type(trainer.model.structure))}
        config["optimizer"] = {"lr": own.pop("lr"), "momentum": own.pop("momentum")}
        config["schedule"] = {"beta": own.pop("beta")}
        config |= own | {"probe_size": probe_size, "probes": [name_of(probe) for probe in member.probes]}
        self.config = config | {"changed": _changed(config, probes)}
        sizes = {"train_size": len(member.train), "test_size": len(member.test)}
        self.about = sizes | {"model": type(trainer.model.structure).__name__}
        self.device = trainer.device

    @contextmanager
    def opened(self, member: Member) -> Iterator[None]:
        with self.run.lock():
            if self.run.exists:
                self._refuse_another()
            self.run.create(self.config, versions(self.device), self.fingerprints, self.about)
            quantities = declared_quantities(member.probes)
            self.run.write_report({"quantities": {name: quantity.to_dict() for name, quantity in quantities.items()}})
            with super().opened(member):
                yield

    def _refuse_another(self) -> None:
        there = self.run.config
        check_settings(
            self.run.path, there["changed"] | there["fingerprints"], self.config["changed"] | self.fingerprints
        )
        if not self.known:
            summary = self.run.summary or {"status": "unfinished"}
            raise ValueError(
                f"{self.run.path} holds this run already ({summary['status']}): call resume() before fit() to go on "
                f"with it, or give another run_dir"
            )


def _changed(config: dict, probes) -> dict:
    """The settings of ``config`` that differ from the Trainer's defaults, by dotted keys; alpha and seed always."""
    flat = {name: value for name, value in config.items() if not isinstance(value, dict)}
    for group in ("model", "optimizer", "schedule"):
        flat |= {f"{group}.{name}": value for name, value in config[group].items()}
    defaults = Settings().record()
    usual = {"_target_": config["_target_"], "probe_size": 16, "probes": flat["probes"] if probes is None else None}
    usual |= {
        "optimizer.lr": defaults["lr"],
        "optimizer.momentum": defaults["momentum"],
        "schedule.beta": defaults["beta"],
    }
    always = ("alpha", "seed")
    return {n: v for n, v in flat.items() if n in always or (usual | defaults).get(n, None) != v}


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
