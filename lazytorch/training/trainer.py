"""Training as a library class: a model, data and settings in; a summary, and a run directory, out."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..anchored import Anchored
from ..centered import CenteredModel
from ..data import DeviceData, as_device_data
from ..runs import RunDirectory
from ..shared_start import separate
from .checks import (
    at_start,
    check_alike,
    check_batches,
    check_counts,
    check_independence,
    check_outputs,
    check_start,
    check_stopping,
    check_type,
    check_visible,
)
from .fingerprints import loss_fingerprint, network_fingerprint
from .loop import train as train_members
from .member import Member
from .objective import Objective, find_objective
from .optimizer import make_optimizer
from .placement import device_of, find_processes
from .precision import autocast, data_type
from .probes import STANDARD, declared_quantities, make_probes, name_of
from .script import ScriptRun, describe, start_from
from .settings import Settings
from .sinks import Follower, RunSink
from .state import State, check_fingerprints, check_model, check_settings, load_checkpoint

Data = DeviceData | Dataset | tuple[Tensor, Tensor] | tuple[np.ndarray, np.ndarray]


class Trainer:
    """SGD with momentum on theta for R(D_eps f(theta)), with eta_t = lr / (1 + beta t) at epoch t.

    This is the paper's SGD on w for R(alpha h(w)) / alpha^2 at the same rate (Chizat, Oyallon & Bach 2019, sec. 3.2).

    Processes that torchrun has started train one run: each takes a part of every batch (of the same permutation and
    augmentation, whatever their number), gradients are added up in one message a step, the first process's weights are
    everybody's, and it alone writes. The objective must be a mean over the examples of a batch.

    Args:
        model: a CenteredModel or LinearizedModel; the data follow it to its device. It is trained in training mode;
            parts in evaluation mode of a model that is in training mode stay so.
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
        validation: as ``test``, examples that are not trained on: what ``patience`` and the best checkpoint go by.
        patience: training ends after so many evaluations in a row whose accuracy on ``validation`` was at most
            ``tolerance`` above the best before them; 0 trains all epochs.
        compile: whether steps run as one compiled graph, see :meth:`lazytorch.CenteredModel.differentiate` (with an own
            loss, beside which the graph is that of the model); evaluations and probes do not. A model that is compiled
            already stays so. In :func:`fit_together` it takes turns.
        cudnn_benchmark: whether cuDNN measures its convolutions, for each shape, and takes the fastest, which may be
            others in another run, to other roundings.

    Raises:
        ValueError, TypeError: a setting out of range, named with its remedy; outputs that do not fit the labels; what
            is not finite before the first step; processes that were given different things, or a module whose examples
            influence each other, as by batch norm, in several processes.
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
        validation: Data | None = None,
        patience: int = 0,
        tolerance: float = 0.0,
        compile: bool = False,
        cudnn_benchmark: bool = False,
    ):
        if not isinstance(model, Anchored):
            raise TypeError(f"model is a {type(model).__name__}: wrap it, as lazytorch.CenteredModel(model, alpha)")
        device, processes = device_of(model), find_processes()
        counts = (batch_size, seed, precision, evaluate_every, patience, tolerance)
        settings = Settings(loss, lr, momentum, beta, *counts, _compiled(model, compile), cudnn_benchmark)
        settings.check(device)
        check_counts(probe_size=probe_size)
        check_type(model, precision)
        train, test = (as_device_data(data, device, data_type(precision)) for data in (train, test))
        if validation is not None:
            validation = as_device_data(validation, device, data_type(precision))
        check_stopping(patience, validation)
        objective = find_objective(loss)
        check_start(model, train)
        shape = check_outputs(model, train, test, objective, autocast(precision, device))
        if validation is not None:
            check_outputs(model, train, validation, objective, autocast(precision, device))
        check_batches(model, train, batch_size)
        if processes.count > 1:
            check_independence(model, train)
        processes.spread([*model.parameters(), *model.buffers()])
        self.model, self._record = model, describe(model, settings)
        self.fingerprints = _fingerprints(model, train, test, validation, objective, shape)
        check_alike(processes, self._record | self.fingerprints)
        state = State(model, make_optimizer(model, settings), torch.zeros(2, dtype=torch.float64, device=device))
        made = make_probes(STANDARD if probes is None else probes, test.head(probe_size)[0])
        self.member = Member(state, train, test, validation, settings, objective, shape, self.fingerprints, list(made))
        self.member.processes = processes
        if run_dir is None:
            return
        if not isinstance(run_dir, RunSink):
            sets = {"train": train, "test": test, "validation": validation}
            sizes = {f"{name}_size": len(data) for name, data in sets.items() if data is not None}
            run_dir = ScriptRun(RunDirectory(run_dir), model, [name_of(probe) for probe in made], probe_size, sizes)
        if processes.rank > 0:
            run_dir = Follower(run_dir.run)
        self.member.sink = run_dir
        run_dir.inform(self._record, self.fingerprints, declared_quantities(made))

    def fit(self, epochs: int) -> dict:
        """Train up to ``epochs`` epochs in all and return the summary, as summary.json holds it (alpha inf as "inf").

        Status is "finished", or "diverged" where the loss became non-finite, with the last good measurements.

        Raises:
            ValueError: ``run_dir`` holds another run, or this one and ``resume`` was not called; or the loss is not
                finite before the first step.
            RuntimeError: another process, or trainer, trains into ``run_dir``.
            UnsupportedOperator: the loss became nan because no divided difference can express what the model does.
            KeyboardInterrupt: after SIGTERM or Ctrl-C, once the run is checkpointed; ``resume`` and ``fit`` go on. Its
                argument is the signal's number.
        """
        return fit_together([self], epochs)[0]

    def resume(self, path: str | os.PathLike | None = None) -> bool:
        """Go on from the run's own last checkpoint, if it has one; or from ``path``, which must be of the same network.

        Call before ``fit``. Returns whether there was a checkpoint.

        Raises:
            FileNotFoundError, ValueError: the file is missing, damaged, or of another model or configuration; or there
                is neither ``path`` nor a run_dir.
        """
        return self._resume_own() if path is None else self._start_from(Path(path))

    def _resume_own(self) -> bool:
        sink = self.member.sink
        if not isinstance(sink, RunSink):
            raise ValueError("there is nothing to resume: give the Trainer a run_dir, or resume(path) a checkpoint")
        sink.goes_on = True
        path = sink.run.checkpoint("last")
        if not check_visible(self.member.processes, path):
            return False
        saved = load_checkpoint(path)
        check_settings(path, saved["settings"], self._record)
        check_fingerprints(path, saved["fingerprints"], self.fingerprints)
        self._load(path, saved)
        self._record.update(saved["settings"])
        sink.known = len(saved["rows"])
        return True

    def _start_from(self, path: Path) -> bool:
        saved = load_checkpoint(path)
        check_settings(path, saved["settings"], {"alpha": self.model.alpha})
        check_model(path, saved["model"], self.model.state_dict())
        check_fingerprints(path, saved["fingerprints"], {"network": self.fingerprints["network"]})
        self._load(path, saved)
        self._record.update(start_from(path))
        self.member.state.best = self.member.state.score
        return True

    def _load(self, path: Path, saved: dict) -> None:
        check_model(path, saved["model"], self.model.state_dict())
        self.member.state.load(saved)
        self.member.status = "running"

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return self.member.state.epoch


def fit_together(trainers: Sequence[Trainer], epochs: int) -> list[dict]:
    """Train several models at once, each to the result of its own ``fit(epochs)``, and return their summaries.

    Trainers of one module at several alphas and learning rates that were given the same :class:`DeviceData` to train on
    share the pass at w_0 (see :class:`SharedStart`): a step of A models costs (4 A + 1) / 5 steps of one at alpha > 1.
    Others take turns, epoch by epoch.

    An error that ends one, in its model, loss or probes, is raised when the others have come to their ends.

    Raises:
        ValueError: two trainers of one model; and what ``fit`` raises.
    """
    check_counts(epochs=epochs)
    if len({id(trainer.model) for trainer in trainers}) < len(trainers):
        raise ValueError("two of these trainers train one model: wrap the network anew for each of them")
    members = [trainer.member for trainer in trainers]
    try:
        train_members(members, epochs)
    finally:
        if len(members) > 1:
            for member in members:
                separate(member.model)
    for member in members:
        if member.error is not None:
            raise member.error
    return [member.summary or {} for member in members]


def _compiled(model: Anchored, wanted: bool) -> bool:
    """Whether the model is compiled, which it is from here on if that is wanted."""
    if not isinstance(model, CenteredModel):
        if wanted:
            raise ValueError(f"compile=True does not apply to a {type(model).__name__}: use CenteredModel(net, inf)")
        return False
    if wanted and not model.is_compiled:
        model.compile()
    return model.is_compiled


def _fingerprints(
    model: Anchored,
    train: DeviceData,
    test: DeviceData,
    validation: DeviceData | None,
    objective: Objective,
    shape: tuple[int, ...],
) -> dict[str, str]:
    """Of the data, the network at w_0 and the loss."""
    x, y = train.head(8)
    return {
        "train": train.fingerprint(),
        "test": test.fingerprint(),
        **({} if validation is None else {"validation": validation.fingerprint()}),
        "network": network_fingerprint(at_start(model), x),
        "loss": loss_fingerprint(objective, y, x.new_zeros((len(y), *shape), dtype=train.dtype)),
    }
