"""The members of a sweep, wherever a launcher runs them: each leaves a record of what has come of it among the runs."""

import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from ..durations import spell_seconds
from ..runs import spell_float, write_atomically

VARIABLE = "LAZYTORCH_SWEEP"  # how the processes of a launcher know the sweep
KILLED = "its process was killed, for want of memory perhaps: start the sweep again, which goes on where it was"


@dataclass(frozen=True)
class Record:
    """A member, or a single run: its number from 0, its overrides, its directory and summary, or else the error."""

    number: int
    overrides: str = ""
    directory: str | None = None
    summary: dict | None = None
    error: str | None = None
    was_done: bool = False


@dataclass(frozen=True)
class Sweep:
    """The members' records are in ``folder``; ``members`` is how many there are, 0 if unknown; ``keys`` are varied.

    ``is_elsewhere``: whether what they say goes to logs of their own, as under Slurm.
    """

    folder: str
    members: int
    keys: tuple[str, ...]
    started: float
    is_elsewhere: bool = False

    @classmethod
    def current(cls) -> "Sweep | None":
        """The one that this process, or the one that launched it, is running."""
        text = os.environ.get(VARIABLE)
        return cls(**json.loads(text)) if text else None

    @classmethod
    def end_current(cls) -> list[Record]:
        """What has come of all members that had begun, in their order; nothing of the sweep stays on the disk."""
        sweep = cls.current()
        os.environ.pop(VARIABLE, None)
        if sweep is None:
            return []
        found = {record.number: replace(record, error=KILLED) for record in sweep._read("begun")}
        found |= {record.number: record for record in sweep.records()}
        shutil.rmtree(hydra_folder("", plan=True), ignore_errors=True)
        shutil.rmtree(sweep.folder, ignore_errors=True)
        parent = Path(sweep.folder).parent
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
        return [found[number] for number in sorted(found)]

    def begin(self, record: Record) -> None:
        """Note that a member has begun, so that it is missed if it leaves no record."""
        self._write(record, "begun")

    def leave(self, record: Record) -> None:
        """Keep what has come of a member for the launching process."""
        self._write(record, "done")

    def records(self) -> list[Record]:
        """What has come of the members so far, in their order."""
        return self._read("done")

    def where(self) -> str:
        """How far the sweep is: "3/7, 4 min left"."""
        done = sum(1 for _ in Path(self.folder).glob("*.done"))
        left = self.members - done
        seconds = (time.time() - self.started) / max(1, done) * left
        of = f"{done}/{self.members}" if self.members else f"{done}"
        return f"{of}, {spell_seconds(seconds)} left" if left > 0 else of

    def shorten(self, overrides: list[str]) -> str:
        """Of a member's overrides those that vary."""
        return " ".join(_readable(text) for text in overrides if text.partition("=")[0].lstrip("+") in self.keys)

    def _write(self, record: Record, state: str) -> None:
        content = json.dumps(asdict(record)).encode()
        write_atomically(Path(self.folder) / f"{record.number}.{state}", lambda file: file.write(content))

    def _read(self, state: str) -> list[Record]:
        files = sorted(Path(self.folder).glob(f"*.{state}"), key=lambda file: int(file.stem))
        return [Record(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def _readable(override: str) -> str:
    """The override with a number as people write it: hydra makes 10000000.0 of 1e7."""
    key, _, value = override.partition("=")
    try:
        number = float(value)
    except ValueError:
        return override
    spelt = spell_float(number)
    return f"{key}={spelt}" if float(spelt) == number and not value.isdecimal() else override


def hydra_folder(runs_dir: str, plan: bool) -> str:
    """Where hydra's own files of a sweep go: among the runs, or where nothing is to be written there, for a plan."""
    return f"{tempfile.gettempdir()}/lazytorch-plan-{os.getpid()}" if plan else f"{runs_dir}/.hydra"


OmegaConf.register_new_resolver("hydra_folder", hydra_folder, replace=True)


class SweepCallback(Callback):
    """Called by hydra in the launching process, before its workers start: they find the sweep in the environment."""

    def on_multirun_start(self, config: DictConfig, **_) -> None:
        """Say where the records go, and count the members."""
        folder = Path(config.runs_dir).expanduser().absolute() / ".sweeps" / f"{os.getpid()}-{time.time_ns()}"
        given = [*config.hydra.overrides.task]
        fixed = config.hydra.sweeper.get("params") or {}
        own = {text.partition("=")[0] for text in given}
        members, keys = count_members([*given, *(f"{key}={value}" for key, value in fixed.items() if key not in own)])
        if not config.hydra.sweeper._target_.endswith("BasicSweeper"):
            members = 0
        is_elsewhere = "submitit" in OmegaConf.select(config, "hydra.launcher._target_", default="")
        sweep = Sweep(str(folder), members, tuple(keys), time.time(), is_elsewhere)
        os.environ[VARIABLE] = json.dumps(asdict(sweep))


def count_members(overrides: list[str]) -> tuple[int, list[str]]:
    """How many runs a sweep over these overrides has, and which keys it varies."""
    count, keys = 1, []
    for override in OverridesParser.create().parse_overrides(overrides):
        if override.is_sweep_override():
            keys.append(override.get_key_element().lstrip("+"))
            if override.is_discrete_sweep():
                count *= sum(1 for _ in override.sweep_string_iterator())
    return count, keys
