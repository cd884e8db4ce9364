"""The command line: a hydra application over ``conf/``."""

import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from .experiments.compose import compose
from .experiments.experiment import Experiment
from .experiments.perform import Outcome, perform_together
from .outcomes import Record, SweepCallback, leave, progress
from .results import closing_table, result_line
from .runs import canonical
from .usage import explain, print_help, quoted

PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[1] / "conf"


def main() -> None:
    """Run ``lazytorch``; the last lines of stdout are the run directory (of a sweep: its folders, <runs_dir>/<name>).

    Exits with 0; with 1 after an error, printed in one line (in full with HYDRA_FULL_ERROR=1), the other members of a
    sweep having run; with 130 or 143 after Ctrl-C or SIGTERM, everything checkpointed.
    """
    arguments = sys.argv[1:]
    if "--version" in arguments:
        from . import __version__

        print(f"lazytorch {__version__}")
        return
    sys.path.insert(0, os.getcwd())  # the user's own modules
    full = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else hydra prints errors itself, over many lines
    sys.argv[1:] = [quoted(argument) for argument in arguments]
    application = Application()
    try:
        if {"--help", "-h"} & set(arguments):
            print_help(CONF, [a for a in sys.argv[1:] if a not in ("--help", "-h", "-m", "--multirun")])
            return
        _hydra(application)()
        application.collect()
        application.run_fused()
    except KeyboardInterrupt as stop:
        print("lazytorch: stopped; what was trained is checkpointed, the same command goes on", file=sys.stderr)
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))
    except Exception as error:
        application.fail(explain(error, CONF), error)
    application.close(full)


@dataclass
class Application:
    """The directories to print, what went wrong, and the members of fused sweeps that wait to be run."""

    directories: dict[Path, None] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    waiting: list[tuple[str, Experiment]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    messages: Counter = field(default_factory=Counter)

    def run_one(self, cfg: DictConfig) -> None:
        """hydra's job: run the experiment; in a sweep leave a record of it, or let it wait for the others."""
        job = HydraConfig.get()
        is_sweep = job.mode == RunMode.MULTIRUN
        overrides = " ".join(job.overrides.task)
        # An error raised here would have hydra print a second line, and is no reason to stop a sweep.
        try:
            experiment = compose(cfg, _default_name(job.runtime.choices))
            if is_sweep and _is_fused(experiment):
                _check_launcher(job.launcher)
                experiment.check()
                self.waiting.append((overrides, experiment))
                return
            (outcome,) = perform_together([experiment])
            if outcome.error is not None:
                raise outcome.error
        except Exception as error:
            message = explain(error, CONF)
            if not is_sweep:
                self.fail(message, error)
                return
            record = Record(job.job.num, overrides, error=message)
        else:
            if not is_sweep:
                self._say(outcome)
                self.directories[outcome.directory.path] = None
                return
            record = Record(job.job.num, overrides, str(outcome.directory.path), outcome.summary)
            self._say(outcome, progress(job.job.num))
        leave(cfg.runs_dir, record)

    def collect(self) -> None:
        """Read what the members of the sweep have left."""
        sweep = SweepCallback.current
        if sweep is None:
            return
        self.records = sweep.records()
        SweepCallback.current = None
        missing = sweep.members - len(self.records) - len(self.waiting)
        for record in self.records:
            self._take(record)
        if missing > 0 and not self.waiting:
            self.fail(
                f"{missing} of {sweep.members} members have left no record: they were killed; run the sweep again"
            )

    def run_fused(self) -> None:
        """Run the members that wait, together where they differ in what may differ."""
        groups: dict[str, list[tuple[str, Experiment]]] = {}
        for overrides, experiment in self.waiting:
            groups.setdefault(_common(experiment), []).append((overrides, experiment))
        for group in groups.values():
            try:
                outcomes = perform_together([experiment for _, experiment in group])
            except Exception as error:
                self.fail(explain(error, CONF), error, group[0][0])
                continue
            for (overrides, _), outcome in zip(group, outcomes, strict=True):
                if outcome.error is not None:
                    self._take(Record(0, overrides, error=explain(outcome.error, CONF)))
                else:
                    self._say(outcome)
                    self._take(Record(0, overrides, str(outcome.directory.path), outcome.summary))

    def fail(self, message: str, error: Exception | None = None, overrides: str = "") -> None:
        """Report an error in one line; the same one again is counted only."""
        if not self.messages[message]:
            where = f"{overrides} failed: " if overrides else ""
            print(f"lazytorch: {where}{message}", file=sys.stderr)
        self.messages[message] += 1
        self.errors.append(error or RuntimeError(message))

    def close(self, full: bool) -> None:
        """Print the closing table and the directories, and exit."""
        done = [record for record in self.records if record.directory is not None]
        if len(done) > 1:
            print(closing_table(done), file=sys.stderr)
        for message, count in self.messages.items():
            if count > 1:
                print(f"lazytorch: {count} members failed so: {message}", file=sys.stderr)
        if self.errors and full:
            raise self.errors[0]
        for directory in self.directories if not self.errors or self.records else ():
            print(directory)  # hydra's own --cfg runs nothing
        if self.errors:
            sys.exit(1)

    def _take(self, record: Record) -> None:
        if record not in self.records:
            self.records.append(record)
        if record.directory is None:
            self.fail(record.error or "unknown error", overrides=record.overrides)
        else:
            self.directories[Path(record.directory).parent] = None

    def _say(self, outcome: Outcome, where: str = "") -> None:
        if not outcome.was_done:
            print(f"lazytorch: {result_line(outcome.directory, outcome.summary, where)}", file=sys.stderr)


def _hydra(application: Application):
    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def run(cfg: DictConfig) -> None:
        application.run_one(cfg)

    return run


def _is_fused(experiment: Experiment) -> bool:
    return bool(experiment.together) and getattr(getattr(experiment, "sweep", None), "fused", False)


def _common(experiment: Experiment) -> str:
    """What members of a fused sweep must have in common: everything but the fields of ``together``."""
    config = experiment.config()
    for name in experiment.together:
        *groups, leaf = name.split(".")
        place = config
        for group in groups:
            place = place[group]
        place[leaf] = 0
    return canonical(config)


def _check_launcher(launcher) -> None:
    if not launcher._target_.endswith("BasicLauncher"):
        raise ValueError(
            f"sweep.fused=true trains its members in one process, which {launcher._target_} does not: "
            f"use hydra/launcher=basic, or sweep.fused=false"
        )


def _default_name(choices) -> str:
    experiment = choices.get("experiment") or "training"
    return f"{choices.get('model')}-{choices.get('data')}" if experiment == "training" else experiment


if __name__ == "__main__":
    main()
