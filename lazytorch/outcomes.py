"""What has become of the members of a sweep, wherever a launcher has run them: each leaves a record among the runs."""

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from .runs import write_atomically

TOKEN, MEMBERS, STARTED = "LAZYTORCH_SWEEP", "LAZYTORCH_SWEEP_MEMBERS", "LAZYTORCH_SWEEP_STARTED"


@dataclass(frozen=True)
class Record:
    """One member: its number and overrides, and its directory and summary, or its error, each of them or None."""

    number: int
    overrides: str
    directory: str | None = None
    summary: dict | None = None
    error: str | None = None


class SweepCallback(Callback):
    """Called by hydra in the launching process: says where the sweep is, and to its workers how large it is."""

    current: "SweepCallback | None" = None

    def __init__(self):
        self.folder: Path | None = None
        self.members = 0

    def on_multirun_start(self, config: DictConfig, **_) -> None:
        """Note the sweep's folder and count its members."""
        os.environ[TOKEN] = f"{os.getpid()}-{time.time_ns()}"
        self.folder = _folder(config.runs_dir)
        parameters = config.hydra.sweeper.get("params") or {}
        own = {override.split("=")[0] for override in config.hydra.overrides.task}
        fixed = [f"{key}={value}" for key, value in parameters.items() if key not in own]
        self.members = count_members([*config.hydra.overrides.task, *fixed])
        os.environ[MEMBERS], os.environ[STARTED] = str(self.members), str(time.time())
        SweepCallback.current = self

    def records(self) -> list[Record]:
        """What the members have left, in their order, removed from the disk."""
        if self.folder is None or not self.folder.is_dir():
            return []
        files = sorted(self.folder.glob("*.json"), key=lambda file: int(file.stem))
        records = [Record(**json.loads(file.read_text(encoding="utf-8"))) for file in files]
        shutil.rmtree(self.folder, ignore_errors=True)
        if not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
        return records


def leave(runs_dir: str, record: Record) -> None:
    """Keep a member's record for the launching process."""
    text = json.dumps(asdict(record))
    write_atomically(_folder(runs_dir) / f"{record.number}.json", lambda file: file.write(text.encode()))


def count_members(overrides: list[str]) -> int:
    """How many runs a sweep over these overrides has."""
    count = 1
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            count *= sum(1 for _ in override.sweep_string_iterator())
    return count


def progress(number: int) -> str:
    """Where a sweep is after its member ``number``, counted from 0: "3/7, 4 min left"."""
    members = int(os.environ.get(MEMBERS, "0"))
    elapsed = time.time() - float(os.environ.get(STARTED, time.time()))
    left = elapsed / (number + 1) * (members - number - 1)
    remaining = f", {spell_seconds(left)} left" if left > 0 else ""
    return f"{number + 1}/{members}{remaining}"


def spell_seconds(seconds: float) -> str:
    """A duration in a word or two."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _folder(runs_dir: str) -> Path:
    return Path(runs_dir).expanduser() / ".sweeps" / os.environ[TOKEN]
