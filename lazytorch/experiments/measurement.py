"""A run that measures instead of training: data + network -> files and figures in a run directory."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..data import DeviceData, ImageSet
from ..runs import RunDirectory, identity
from ..training.checks import check_seed
from ..training.precision import check_precision, data_type
from .build import build_data, build_device, build_images, build_network, check_classes, describe
from .versions import versions

log = logging.getLogger(__name__)

# What a kind of measurement that does not read these keys has them at.
PRECISION = "float32"
DATA = {"test_size": 1, "augment": "none"}


@dataclass(frozen=True)
class Problem:
    """The images and the network at w_0 that ``config`` describes."""

    config: dict
    device: torch.device
    train: ImageSet
    test: ImageSet
    net: nn.Module

    def data(self, precision: str) -> tuple[DeviceData, DeviceData]:
        """Both sets on the device, in the type of ``precision``."""
        return build_data(self.config | {"precision": precision}, self.train, self.test, self.device)

    def record(self) -> dict:
        """What a run directory records of the data."""
        train, test = self.data(PRECISION)
        sizes = {"train_size": len(train), "test_size": len(test)}
        return {"train": train.fingerprint(), "test": test.fingerprint()} | describe(self.train) | sizes


def measure(
    config: dict, measurement: Callable[[Problem, Path], dict], check: Callable[[Problem], None] = lambda problem: None
) -> RunDirectory:
    """Run ``measurement``, which writes files into the run directory and returns the summary, unless that is finished.

    What can be wrong with data and network is checked before anything is written, by ``check`` too.

    Raises:
        ValueError, TypeError, FileNotFoundError, RuntimeError: what is wrong, in one line with its remedy.
    """
    if not isinstance(config["resume"], bool):
        raise ValueError(f"resume={config['resume']}: kind={config['kind']} has no checkpoints, give true or false")
    problem = _build({"precision": PRECISION} | config | {"data": DATA | config["data"]})
    check(problem)
    run = RunDirectory(Path(config["runs_dir"]) / config["name"] / identity(config))
    with run.lock():
        if not config["resume"]:
            run.clear()
            for file in run.path.glob("*.csv"):
                file.unlink()
        run.create(config, versions(problem.device), problem.record())  # refuses other data than the run's
        if run.summary is None:
            started = time.monotonic()
            summary = measurement(problem, run.path)
            run.write_summary({"status": "finished"} | summary | {"seconds": time.monotonic() - started})
    log.info("%s is done: %s", config["kind"], run.path)
    return run


def _build(config: dict) -> Problem:
    device = build_device(config["device"])
    check_precision(config["precision"], device)
    check_seed(config["seed"])
    train, test = build_images(config)
    net = build_network(config, describe(train)).to(device, data_type(config["precision"])).eval()
    problem = Problem(config, device, train, test, net)
    images, _ = problem.data(config["precision"])
    check_classes(net, len(train.classes), images.head(2)[0])
    return problem
