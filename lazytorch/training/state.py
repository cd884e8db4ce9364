"""What a checkpoint is: everything that a training step depends on and changes, written whole or not at all.

Resume policy: a checkpoint is written at the end of every epoch, and in the middle of one when the run is asked to stop
(SIGTERM, Ctrl-C). A run that is killed goes on from the last one and ends with bit-identical results on the CPU:
batches are a function of (seed, epoch), and generator states are in the checkpoint, as are the rows of metrics so far.
"""

import math
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..anchored import Anchored
from ..runs import write_atomically
from .settings import Settings

DEFAULTS = Settings().record()
REMEDY = "delete it, and start over with resume=false"
COUNTERS = ("epoch", "step", "seconds", "best", "rows", "random")
PARTS = {"settings": dict, "fingerprints": dict, "model": dict, "optimizer": dict, "epoch": int, "step": int}
PARTS |= {"totals": Tensor, "seconds": float, "best": float, "rows": list, "random": (dict, type(None))}


@dataclass
class State:
    """Where a training is. ``totals`` are those of the epoch: loss, and how many were classified right."""

    model: Anchored
    optimizer: torch.optim.Optimizer
    totals: Tensor
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    rows: list[dict] = field(default_factory=list)
    random: dict[str, Tensor] | None = None

    @property
    def last(self) -> dict | None:
        """The last row of metrics."""
        return self.rows[-1] if self.rows else None

    @property
    def score(self) -> float:
        """What the best checkpoint has most of: accuracy on the validation set, or else on the test set, or where there
        is none minus the loss."""
        row = self.last or {}
        part = "validation" if "validation_loss" in row else "test"
        accuracy = row.get(f"{part}_accuracy")
        return -row.get(f"{part}_loss", math.inf) if accuracy is None else accuracy

    def end_epoch(self) -> None:
        """Begin to count the next one."""
        self.epoch, self.step = self.epoch + 1, 0
        self.totals.zero_()

    def to_dict(self) -> dict:
        """Tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "totals": self.totals,
            **{name: getattr(self, name) for name in COUNTERS},
        }

    def load(self, saved: dict) -> None:
        """Become what ``to_dict`` returned; the optimizer keeps its own momentum."""
        momenta = [group["momentum"] for group in self.optimizer.param_groups]
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for group, momentum in zip(self.optimizer.param_groups, momenta, strict=True):
            group["momentum"] = momentum
        self.totals.copy_(saved["totals"])
        for name in COUNTERS:
            setattr(self, name, saved[name])


def save_checkpoint(path: Path, state: State, settings: dict, fingerprints: dict) -> None:
    """Write ``state``, and what it was trained with, to ``path`` atomically."""
    record = state.to_dict() | {"settings": settings, "fingerprints": fingerprints}
    write_atomically(path, lambda file: torch.save(record, file))


def load_checkpoint(path: Path) -> dict:
    """The record in ``path``, on the CPU, with ``weights_only=True``, every byte checked against the file's checksums.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, no checkpoint, or holds objects other than tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist: give the path of a run's checkpoints/last.pt")
    check_archive(path)
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint {path} holds more than tensors and plain values, which is not loaded for safety: "
            f"use one that lazytorch wrote, or start over with resume=false"
        ) from error
    except Exception as error:  # whatever reading hostile bytes may raise
        raise ValueError(f"checkpoint {path} is truncated or damaged: {REMEDY}") from error
    if not isinstance(record, dict) or any(not isinstance(record.get(name), kind) for name, kind in PARTS.items()):
        raise ValueError(f"{path} is not a lazytorch checkpoint: give the path of a run's checkpoints/last.pt")
    return record


def check_archive(path: Path) -> None:
    """Raise ValueError unless ``path`` is a file of torch.save whose every byte has its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:
        raise ValueError(f"checkpoint {path} is truncated or damaged: {REMEDY}") from error
    if damaged is not None:
        raise ValueError(f"checkpoint {path} is damaged ({damaged!r} does not have its checksum): {REMEDY}")


def check_settings(path: Path, saved: Mapping, current: Mapping, what: str = "configuration") -> None:
    """Raise ValueError if a run or checkpoint was made with other settings, naming the first that differs."""
    for key in current:
        if key not in saved and key in DEFAULTS:  # a setting that is newer than the checkpoint
            saved = dict(saved) | {key: DEFAULTS[key]}
        if saved.get(key) != current[key]:
            raise ValueError(
                f"{path} is of another {what} ({key}: {saved.get(key)!r} there, {current[key]!r} here): "
                f"go on with what made it, or give this run another run_dir, or resume=false to start over"
            )


def check_fingerprints(path: Path, saved: Mapping, current: Mapping) -> None:
    """Raise ValueError if a run or checkpoint was made with other data, or another network or loss."""
    for part, here in current.items():
        what = f"{part} set" if part in ("train", "test", "validation") else part
        check_settings(path, {"fingerprint": saved.get(part)}, {"fingerprint": here}, what)


def check_model(path: Path, saved: Mapping, current: Mapping) -> None:
    """Raise ValueError if two model states differ in names or shapes, naming the first that does."""
    for name in (*current, *saved):
        there, here = (tuple(state[name].shape) if name in state else "none" for state in (saved, current))
        if there != here:
            raise ValueError(
                f"checkpoint {path} is of another model ({name}: shape {there} there, {here} here): "
                f"use the checkpoint of this model, or start over with resume=false"
            )
