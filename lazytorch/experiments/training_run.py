"""One training run: conf -> data + module -> CenteredModel -> Trainer with probes -> run directory."""

import logging
import math
import os
from pathlib import Path

from torch import nn

from ..centered import CenteredModel
from ..runs import RunDirectory, identity
from ..training import Trainer
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
    check_counts(epochs=config["epochs"])
    run = RunDirectory(Path(config["runs_dir"]) / config["name"] / identity(config))
    done = config["resume"] is True and _is_done(run, config["epochs"])
    if done and run.config["data"]["root"] == config["data"]["root"]:
        return _report_done(run, config)
    trainer, record = _build(config, run)
    if isinstance(config["resume"], str):
        trainer.resume(config["resume"])
    with run.lock():
        if config["resume"] is not True:
            run.clear()
        run.create(config, versions(trainer.device), record)  # refuses other data than the run's
        if done:
            return _report_done(run, config)
        if config["resume"] is True and trainer.resume():
            log.info("alpha=%g goes on from epoch %d: %s", config["alpha"], trainer.epoch, run.path)
        try:
            summary = trainer.fit(config["epochs"])
        finally:
            if trainer.stop.signal is not None:  # a sweep must not go on, whatever came of the stopping
                raise KeyboardInterrupt(trainer.stop.signal)
    log.info("alpha=%g %s after %d epochs: %s", config["alpha"], summary["status"], summary["epochs"], run.path)
    return run


def _build(config: dict, run: RunDirectory) -> tuple[Trainer, dict]:
    """The trainer, and what the run directory records of its data."""
    device = build_device(config["device"])
    check_precision(config["precision"], device)
    check_seed(config["seed"])
    loss = build_loss(config["loss"])
    train_images, test_images = build_images(config)
    train_data, test_data = build_data(config, train_images, test_images, device)
    images = describe(train_images)
    net = build_network(config, images).to(device, train_data.dtype)
    check_classes(net, images["classes"], train_data.head(2)[0])
    model = CenteredModel(net, config["alpha"])
    _warn_of_kinks(net, train_data.head(64)[0])
    trainer = Trainer(
        model,
        train_data,
        test_data,
        loss=loss,
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
    sizes = {"train_size": len(train_images), "test_size": len(test_images)}
    return trainer, trainer.fingerprint | images | sizes


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


def _is_done(run: RunDirectory, epochs: int) -> bool:
    summary = run.summary
    if summary is None or summary["status"] not in DONE:
        return False
    return summary["status"] == "diverged" or summary["epochs"] >= epochs


def _report_done(run: RunDirectory, config: dict) -> RunDirectory:
    log.info("alpha=%g is done (%s): %s", config["alpha"], run.summary["status"], run.path)
    return run


def _warn_of_kinks(net, x) -> None:
    share = zero_preactivations(net, x)
    if share > KINK_SHARE and not math.isnan(share):
        log.warning(
            "%.0f%% of the ReLU preactivations at w_0 are exactly 0, where derivatives are one-sided: "
            "normalise the data so that the background is not 0 (data.mean, data.std)",
            100 * share,
        )
