"""From the arguments to the exit code: hydra composes, experiments are run, and what has come of them is printed."""

import logging
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field, replace
from pathlib import Path

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from .. import __version__
from ..experiments import Experiment, Outcome, perform_together
from ..experiments.compose import compose
from ..progress import LINES, SWITCH, is_silent
from ..training.placement import is_first_process, join_tasks
from ..training.versions import versions
from .arguments import ordered, readable
from .devices import lease_device
from .errors import explain, one_line
from .help import print_help
from .results import closing_table, member_line, result_line
from .sweep import KILLED, VARIABLE, Record, Sweep

PACKAGED = Path(__file__).parents[1] / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"
FULL = "HYDRA_FULL_ERROR"


def main() -> None:
    """Run ``lazytorch``; the last lines of stdout are the run directory (of a sweep: its folders, <runs_dir>/<name>).

    Exits with 0; with 1 after an error, printed in one line (in full with HYDRA_FULL_ERROR=1), the other members of a
    sweep having run; with 130 or 143 after Ctrl-C or SIGTERM, everything checkpointed.
    """
    arguments = sys.argv[1:]
    if not is_first_process():
        _fall_silent()
    if "--version" in arguments:
        print(_version())
        return
    is_sweep = bool({"-m", "--multirun"} & set(arguments))
    arguments = sys.argv[1:] = ordered([readable(argument, is_sweep) for argument in arguments])
    application = Application(in_full=FULL in os.environ)
    os.environ.pop(VARIABLE, None)  # of a sweep that has started this process
    os.environ[FULL] = "1"  # else hydra prints errors itself, over many lines
    try:
        if {"--help", "-h"} & set(arguments):
            print_help(CONF, arguments)
        else:
            _hydra(application)()
            application.run_waiting()
            application.print_plans()
    except KeyboardInterrupt as stop:
        Sweep.end_current()
        _say("stopped; what was trained is checkpointed, the same command goes on")
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))
    except Exception as error:
        application.fail(error, explain(error, CONF, arguments))
    finally:
        if not application.in_full:
            del os.environ[FULL]
    sys.exit(application.close())


def _hydra(application: "Application"):
    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def run(cfg: DictConfig) -> None:
        application.run(cfg)

    return run


@dataclass
class Application:
    """What has come of the run, and the members of a fused sweep that wait for the others.

    Members of a sweep leave their records on the disk, as a launcher may run them in other processes, each with a copy
    of this. ``in_full``: whether errors are printed with their tracebacks.
    """

    in_full: bool
    records: list[Record] = field(default_factory=list)
    waiting: list[tuple[Record, Experiment]] = field(default_factory=list)
    to_plan: list[Experiment] = field(default_factory=list)
    failed: bool = False

    def run(self, cfg: DictConfig) -> None:
        """hydra's job: run the experiment, or let it wait for the others."""
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())  # the user's own modules
        job = HydraConfig.get()
        join_tasks()
        if not is_first_process():
            _fall_silent()
        sweep = Sweep.current() if job.mode == RunMode.MULTIRUN else None
        record = Record(job.job.num, sweep.shorten(job.overrides.task)) if sweep else Record(0)
        if cfg.get("plan"):
            self._keep_to_plan(cfg, job)
            return
        if sweep and is_first_process():
            sweep.begin(record)
        try:  # an error that is raised here would have hydra end the sweep
            if sweep and job.launcher._target_.endswith("JoblibLauncher"):
                lease_device(Path(sweep.folder), job.launcher.n_jobs)
                if job.launcher.n_jobs != 1 and not is_silent():  # they would overwrite each other's bars
                    os.environ[SWITCH] = LINES
            experiment = compose(cfg, _default_name(job.runtime.choices))
            if sweep and experiment.fused:
                _check_launcher(job.launcher._target_, "sweep.fused")
                experiment.check()
                self.waiting.append((record, experiment))
                return
            (outcome,) = perform_together([experiment])
        except Exception as error:
            outcome = error
        self._take([(record, outcome)], sweep)

    def run_waiting(self) -> None:
        """Run the members that wait, those of one company together."""
        companies: dict[str, list[tuple[Record, Experiment]]] = {}
        for record, experiment in self.waiting:
            companies.setdefault(experiment.company, []).append((record, experiment))
        for company in companies.values():
            outcomes: list[Outcome | Exception]
            try:
                outcomes = [*perform_together([experiment for _, experiment in company])]
            except Exception as error:
                outcomes = [error] * len(company)
            records = [record for record, _ in company]
            self._take(list(zip(records, outcomes, strict=True)), Sweep.current())

    def print_plans(self) -> None:
        """The plan of every company that is to be planned, on stdout."""
        companies: dict[str, list[Experiment]] = {}
        for experiment in self.to_plan:
            companies.setdefault(experiment.company, []).append(experiment)
        for company in companies.values():
            print(type(company[0]).plan_together(company), end="\n\n")

    def _keep_to_plan(self, cfg: DictConfig, job) -> None:
        try:
            experiment = compose(cfg, _default_name(job.runtime.choices))
            _check_launcher(job.launcher._target_, "plan")
            experiment.check()
            self.to_plan.append(experiment)
        except Exception as error:
            self.fail(error, one_line(error))

    def fail(self, error: Exception, message: str) -> None:
        """Say what went wrong."""
        self.failed = True
        if self.in_full:
            traceback.print_exception(error)
        where = "" if is_first_process() else f" (process {os.environ['RANK']})"
        print(f"lazytorch{where}: {message}", file=sys.stderr)

    def close(self) -> int:
        """Print the table of a sweep, what it lacks, and the directories; the exit code."""
        if not is_first_process():  # which has the records
            Sweep.end_current()
            return int(self.failed)
        if self.to_plan:
            Sweep.end_current()
            return int(self.failed)
        records, members, unsaid = self.records, 0, {KILLED}
        if sweep := Sweep.current():
            records, members = Sweep.end_current(), sweep.members
            unsaid |= {record.error for record in records if sweep.is_elsewhere}
        if len(records) > 1 and any(record.directory for record in records) and is_first_process():
            print(closing_table(records, _columns()), file=sys.stderr)
        _say_failures(records, members, unsaid)
        paths = [Path(record.directory) for record in records if record.directory]
        for path in dict.fromkeys(path.parent if sweep else path for path in paths):
            print(path)
        return int(self.failed or len(records) < members or any(record.error for record in records))

    def _take(self, done: list[tuple[Record, Outcome | Exception]], sweep: Sweep | None) -> None:
        """Keep, and print, what has come of runs that ended together; an error again is counted only, in the end."""
        known = {record.error for record in (sweep.records() if sweep else [])}
        records = [_with_outcome(record, outcome) for record, outcome in done]
        for record in records if is_first_process() else []:
            (sweep.leave if sweep else self.records.append)(record)
        where = f"[{sweep.where()}] " if sweep else ""
        for record, (_, outcome) in zip(records, done, strict=True):
            error = outcome.error if isinstance(outcome, Outcome) else outcome
            if error is None:
                _say(where + (member_line if sweep else result_line)(record))
            elif record.error not in known:
                known.add(record.error)
                self.fail(error, f"{where}{_failed(record)}")


def _with_outcome(record: Record, outcome: Outcome | Exception) -> Record:
    if isinstance(outcome, Exception):
        return replace(record, error=one_line(outcome))
    if outcome.error is not None:
        return replace(record, error=one_line(outcome.error))
    directory = str(outcome.directory.path)
    return replace(record, directory=directory, summary=outcome.summary, was_done=outcome.was_done)


def _version() -> str:
    made_with = versions(torch.device("cpu"))
    others = ", ".join(f"{name} {made_with[name]}" for name in ("git", "python", "torch") if made_with[name])
    return f"lazytorch {__version__} ({others})"


def _say_failures(records: list[Record], members: int, unsaid: Container[str | None]) -> None:
    """Each error once, where it has not been said as it happened, and how many members had it."""
    for error, count in Counter(record.error for record in records if record.error).items():
        first = next(record for record in records if record.error == error)
        if error in unsaid:
            _say(_failed(first))
        if count > 1:
            _say(f"{count} of {max(members, len(records))} members failed as {first.overrides} did")
    if 0 < len(records) < members:
        _say(f"{members - len(records)} of {members} members have not been run: start the sweep again")


def _failed(record: Record) -> str:
    return f"{record.overrides} failed: {record.error}" if record.overrides else f"{record.error}"


def _check_launcher(target: str, key: str) -> None:
    if not target.endswith("BasicLauncher"):
        raise ValueError(
            f"{key}=true takes the members of a sweep in one process, which {target} does not: "
            f"use hydra/launcher=basic, or {key}=false"
        )


def _default_name(choices) -> str:
    experiment = choices.get("experiment") or "training"
    return f"{choices.get('model')}-{choices.get('data')}" if experiment == "training" else experiment


def _fall_silent() -> None:
    """Of the processes of torchrun the first alone speaks; others of their errors alone."""
    os.environ[SWITCH] = "0"
    logging.disable(logging.WARNING)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  open as long as the process is


def _columns() -> int | None:
    """Of the terminal that stderr is, if it is one."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except OSError:
        return None


def _say(text: str) -> None:
    if is_first_process():
        print(f"lazytorch: {text}", file=sys.stderr)
