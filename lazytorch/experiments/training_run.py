"""One training run: conf -> data + module -> CenteredModel -> Trainer with probes -> run directory."""

import contextlib
import logging
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import nn

from ..centered import CenteredModel
from ..data import DeviceData
from ..runs import RunDirectory, identity
from ..training import Trainer, fit_together
from ..training import checkpoint as checkpoints
from ..training.activations import zero_preactivations
from ..training.checks import check_counts, check_seed
from ..training.precision import check_precision, data_type
from .build import build_data, build_device, build_images, build_loss, build_network, check_classes, describe
from .versions import versions

log = logging.getLogger(__name__)
DONE = ("finished", "diverged")
KINK_SHARE = 0.01


def train(config: dict) -> RunDirectory:
    """Train the run that ``config`` (the resolved configuration, ``name`` given) describes, or go on with it.

    A run that is finished or has diverged is left as it is. What can be wrong is checked before anything is written.

    Raises:
        ValueError, TypeError, FileNotFoundError, RuntimeError: what is wrong, in one line with its remedy.
        KeyboardInterrupt: after SIGTERM or Ctrl-C, once the run is checkpointed; its argument is the signal's number.
    """
    (run,), errors = train_together([config])
    for error in errors.values():
        raise error
    return run


def train_together(configs: list[dict]) -> tuple[list[RunDirectory], dict[float, Exception]]:
    """As :func:`train`, for runs that differ in alpha alone: data is read once, the pass at w_0 computed once a batch.

    Each run has its own directory, which holds what training it alone would have written. Returns the runs, and the
    errors of those that could not begin, by alpha; an error that concerns all is raised.
    """
    for config in configs:
        check_counts(epochs=config["epochs"])
    paths = {Path(config["runs_dir"]) / config["name"] / identity(config): config for config in configs}
    members = [(config, RunDirectory(path)) for path, config in paths.items()]
    waiting = [(config, run) for config, run in members if not _is_settled(run, config)]
    return [run for _, run in members], _train(waiting) if waiting else {}


def _train(members: list[tuple[dict, RunDirectory]]) -> dict[float, Exception]:
    parts, errors = _build_parts(members[0][0]), {}
    with contextlib.ExitStack() as locks:
        begun = []
        for config, run in members:
            try:
                trainer = _build_trainer(config, run, parts)
                locks.enter_context(run.lock())
                if _begin(config, run, trainer, parts.record):
                    begun.append(trainer)
            except Exception as error:
                errors[config["alpha"]] = error
        try:
            fit_together(begun, members[0][0]["epochs"])
        finally:
            stopped = {trainer.stop.signal for trainer in begun} - {None}
            if stopped:  # a sweep must not go on, whatever came of the stopping
                raise KeyboardInterrupt(stopped.pop())
    for trainer in begun:
        end = (trainer.model.alpha, trainer.status, trainer.epoch, *trainer.model.tracing, trainer.run.path)
        log.info("alpha=%g %s after %d epochs (%d traces, %.1f s): %s", *end)
    return errors


def _begin(config: dict, run: RunDirectory, trainer: Trainer, record: dict) -> bool:
    """Prepare the run directory and go on from its checkpoint; whether there is anything left to do."""
    if isinstance(config["resume"], str):
        trainer.resume(config["resume"])
    if config["resume"] is not True:
        run.clear()
    run.create(config, versions(trainer.device), record)  # refuses other data than the run's
    if config["resume"] is True and _is_done(run, config["epochs"]):
        _report_done(run, config)
        return False
    if config["resume"] is True and trainer.resume():
        log.info("alpha=%g goes on from epoch %d: %s", config["alpha"], trainer.epoch, run.path)
    return True


class _Parts(NamedTuple):
    """What runs at several alphas share; ``record`` is what the run directory keeps of the data."""

    loss: str | Callable
    train: DeviceData
    test: DeviceData
    net: nn.Module
    record: dict


def _build_parts(config: dict) -> _Parts:
    device = build_device(config["device"])
    check_precision(config["precision"], device)
    check_seed(config["seed"])
    loss = build_loss(config["loss"])
    train_images, test_images = build_images(config)
    train_data, test_data = build_data(config, train_images, test_images, device)
    images = describe(train_images)
    net = build_network(config, images).to(device, train_data.dtype)
    check_classes(net, images["classes"], train_data.head(2)[0])
    _warn_of_kinks(net, train_data.head(64)[0])
    fingerprints = {"train": train_data.fingerprint(), "test": test_data.fingerprint()}
    sizes = {"train_size": len(train_images), "test_size": len(test_images)}
    return _Parts(loss, train_data, test_data, net, fingerprints | images | sizes)


def _build_trainer(config: dict, run: RunDirectory, parts: _Parts) -> Trainer:
    return Trainer(
        CenteredModel(parts.net, config["alpha"]),
        parts.train,
        parts.test,
        loss=parts.loss,
        lr=config["optimizer"]["lr"],
        momentum=config["optimizer"]["momentum"],
        beta=config["schedule"]["beta"],
        batch_size=config["batch_size"],
        run_dir=run,
        seed=config["seed"],
        precision=config["precision"],
        evaluate_every=config["evaluate_every"],
        probe_size=config["probe_size"],
    )


def load_run(
    directory: str | os.PathLike, net: nn.Module | None = None, name: str = "last", device: str = "cpu"
) -> CenteredModel:
    """The trained CenteredModel of a run directory, in evaluation mode, from checkpoints/<name>.pt.

    ``net`` is a network like the run's, whose weights do not matter; the runs of the command line know their own.

    Raises:
        FileNotFoundError, ValueError: no run or no checkpoint there, or a damaged one, or ``net`` is missing.
    """
    run = RunDirectory(directory)
    config = run.config
    state = checkpoints.load(run.checkpoint(name))["model"]
    if net is None:
        if "model" not in config:
            raise ValueError(f"{run.path} was made by a script: give its network, load_run(directory, net)")
        recorded = config["data_fingerprint"]
        net = build_network(config, {key: recorded[key] for key in ("classes", "channels", "size")})
    model = CenteredModel(net, float(config["alpha"])).to(data_type(config["precision"]))
    checkpoints.check_model(run.checkpoint(name), state, model.state_dict())
    model.load_state_dict(state)
    return model.to(device).eval()


def _is_settled(run: RunDirectory, config: dict) -> bool:
    """Whether the run is done, on data from the same place, so that nothing need be read."""
    if config["resume"] is not True or not _is_done(run, config["epochs"]):
        return False
    if run.config["data"]["root"] != config["data"]["root"]:
        return False
    _report_done(run, config)
    return True


def _is_done(run: RunDirectory, epochs: int) -> bool:
    summary = run.summary
    if summary is None or summary["status"] not in DONE:
        return False
    return summary["status"] == "diverged" or summary["epochs"] >= epochs


def _report_done(run: RunDirectory, config: dict) -> None:
    log.info("alpha=%g is done (%s): %s", config["alpha"], run.summary["status"], run.path)


def _warn_of_kinks(net, x) -> None:
    share = zero_preactivations(net, x)
    if share > KINK_SHARE and not math.isnan(share):
        log.warning(
            "%.0f%% of the ReLU preactivations at w_0 are exactly 0, where derivatives are one-sided: "
            "normalise the data so that the background is not 0 (data.mean, data.std)",
            100 * share,
        )
