"""The run directory of a script's Trainer."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..anchored import Anchored
from ..centered import CenteredModel
from ..runs import RunDirectory
from .placement import device_of
from .probes import STANDARD
from .settings import Settings
from .sinks import RunSink
from .state import State, check_fingerprints, check_settings
from .versions import versions

TARGET = "lazytorch.Trainer"
GROUPS = {"lr": "optimizer", "momentum": "optimizer", "beta": "schedule"}
GROUPS |= {"patience": "stopping", "tolerance": "stopping"}
DEFAULTS = {"difference": "divided", **Settings().record(), "probes": list(STANDARD), "probe_size": 16}
ALWAYS = ("alpha", "seed", "model._target_")


def describe(model: Anchored, settings: Settings) -> dict:
    """What counts for the result, beside data, network and loss, of which fingerprints are kept."""
    if isinstance(model, CenteredModel):
        kind = {"difference": model.difference}
    else:
        kind = {"linearized": "centered" if getattr(model, "centered", True) else "not centered"}
    return {"alpha": model.alpha} | kind | settings.record()


def start_from(path: Path) -> dict:
    """What is added to that for a run that starts from a checkpoint."""
    return {"start": hashlib.sha256(path.read_bytes()).hexdigest()[:12]}


class ScriptRun(RunSink):
    """A run directory that is created here, and locked while it is trained into.

    ``probes`` and ``probe_size`` say what is measured, ``about`` what the model and the data are. A directory that
    holds a run is refused, unless it is this run and ``goes_on`` tells that it was asked for.
    """

    def __init__(self, run: RunDirectory, model: Anchored, probes: list[str], probe_size: int, about: dict):
        super().__init__(run)
        self.model, self.device = model, device_of(model)
        self.measured = {"probes": probes, "probe_size": probe_size}
        self.about = about | {"model": type(model.structure).__name__}

    @contextmanager
    def claimed(self) -> Iterator[None]:
        with self.run.lock():
            self._check()
            yield

    @contextmanager
    def opened(self, state: State) -> Iterator[None]:
        config = {"_target_": TARGET, "model": {"_target_": _path(type(self.model.structure))}}
        config |= _grouped(self.settings | self.measured)
        config["changed"] = _changed(config)
        self.run.create(config, versions(self.device), self.fingerprints, self.about)
        self.run.write_report({"quantities": {name: own.to_dict() for name, own in self.quantities.items()}})
        self.goes_on = True
        with super().opened(state):
            yield

    def _check(self) -> None:
        run = self.run
        try:
            there = run.config
        except FileNotFoundError:
            there = None
        if there is not None:
            check_settings(run.path, {"_target_": there.get("_target_")}, {"_target_": TARGET})
            check_settings(run.path, _flat(there), {"start": None} | _flat(_grouped(self.settings)))
            check_fingerprints(run.path, there.get("fingerprints") or {}, self.fingerprints)
        summary = run.summary
        if not self.goes_on and (there is not None or summary is not None or run.checkpoint().exists()):
            status = (summary or {"status": "unfinished"})["status"]
            raise ValueError(
                f"{run.path} holds this run already ({status}): call resume() before fit() to go on with it, or give "
                f"another run_dir"
            )


def _grouped(settings: dict) -> dict:
    """As the command line groups its keys: optimizer.lr ..."""
    config: dict = {}
    for name, value in settings.items():
        place = config.setdefault(GROUPS[name], {}) if name in GROUPS else config
        place[name] = value
    return config


def _changed(config: dict) -> dict:
    """By dotted name, what differs from the Trainer's defaults; alpha, seed and the model always."""
    usual = _flat(_grouped(DEFAULTS)) | {"_target_": TARGET}
    return {name: value for name, value in _flat(config).items() if name in ALWAYS or usual.get(name) != value}


def _flat(config: dict) -> dict:
    flat = {}
    for name, value in config.items():
        flat |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
