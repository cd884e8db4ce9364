"""Running experiments: what is finished is left as it is, what was interrupted goes on, and errors are recorded."""

import inspect
import json
import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..processes import Processes
from ..reports import Claim
from ..runs import RunDirectory, identity, label, locate, to_json
from ..training.interrupt import hand_on, stopping_signals
from ..training.placement import count_processes, find_device, find_processes, let_go
from ..training.sinks import failure
from ..training.tensorboard import TensorBoard
from ..training.versions import versions
from .experiment import Experiment
from .run import Run

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What has come of an experiment: its directory and summary, or the error. ``was_done``: nothing was left to do."""

    experiment: Experiment
    directory: RunDirectory
    summary: dict | None = None
    error: Exception | None = None
    was_done: bool = False


def perform(experiment: Experiment) -> RunDirectory:
    """Run ``experiment``, or go on with it, and return its directory, whose summary is the result.

    What can be wrong is found before anything is written. A run that is done is left as it is, once its data, network
    and loss have been found the same.

    Raises:
        ValueError, TypeError, FileNotFoundError, RuntimeError: what is wrong, in one line with its remedy.
        KeyboardInterrupt: after SIGTERM or Ctrl-C, all that was finished kept; its argument is the signal's number.
    """
    (outcome,) = perform_together([experiment])
    if outcome.error is not None:
        raise outcome.error
    return outcome.directory


def perform_together(experiments: Sequence[Experiment]) -> list[Outcome]:
    """As :func:`perform`, for experiments of one ``company``, which share one problem.

    Each has its own directory, which holds what running it alone would have written. An error that concerns all is
    raised, one that concerns an experiment is in its outcome. Of the processes of torchrun the first alone writes, and
    any error is raised, as none of them may wait for another in vain.
    """
    for experiment in experiments:
        experiment.check()
        if count_processes() > 1 and not experiment.shares_work:  # before they join: who ended then would break it
            raise ValueError(f"{type(experiment).__name__} is not shared among processes: start it without torchrun")
    processes = find_processes()
    if len({experiment.company for experiment in experiments}) > 1:
        raise ValueError(f"experiments run together differ in {', '.join(experiments[0].together)} alone: split them")
    outcomes = [Outcome(experiment, directory_of(experiment)) for experiment in experiments]
    # Several may be one run. The order of locks is the same in every process, so that none waits for another in a ring.
    distinct = {outcome.directory.path: outcome for outcome in outcomes}
    problem = experiments[0].problem()
    with _terminable(), ExitStack() as locks:
        begun = [
            (distinct[path], run)
            for path in sorted(distinct)
            if (run := _begin(distinct[path], problem, locks, processes))
        ]
        if begun:
            for outcome in outcomes:
                if outcome.error is not None:
                    let_go(outcome.error)
            _run(begun, processes)
    return [distinct[outcome.directory.path] for outcome in outcomes]


def directory_of(experiment: Experiment) -> RunDirectory:
    """Where the run is, or will be."""
    changed = experiment.changed()
    name = experiment.name or type(experiment).__name__.lower()
    if name in (".", "..") or Path(name).name != name:
        raise ValueError(f"name={name} is not the name of a folder: leave out slashes, and use runs_dir for paths")
    parent = Path(experiment.runs_dir).expanduser() / name
    return locate(parent, label(changed), identity(experiment.target(), changed))


def _begin(outcome: Outcome, problem, locks: ExitStack, processes: Processes) -> Run | None:
    """Prepare the run and its directory, whose lock ``locks`` keeps; None if nothing is left to do, or can be done."""
    experiment, directory = outcome.experiment, outcome.directory
    run = Run(directory, problem, fingerprints=dict(getattr(problem, "fingerprints", {})), seed=experiment.seed)
    run.is_first = processes.rank == 0
    try:
        run.prepared = experiment.prepare(run)
        with processes.together():
            is_done = processes.rank == 0 and _open(outcome, run, locks)
        is_done, outcome.summary = processes.from_first((is_done, outcome.summary))
        outcome.was_done = is_done
        return None if is_done else run
    except Exception as error:
        if processes.count > 1:
            raise
        outcome.error = error
        return None


def _open(outcome: Outcome, run: Run, locks: ExitStack) -> bool:
    """Create or find the run's directory, and lock it, unless nothing is left to do, which is returned."""
    experiment, directory = outcome.experiment, outcome.directory
    with ExitStack() as lock:
        lock.enter_context(directory.lock(wait=True))
        if experiment.resume is False:
            directory.clear()
        if _is_done(outcome, run):
            return True
        config = experiment.config() | {"changed": experiment.changed()}
        made_with = versions(find_device(experiment.device))
        directory.create(config, made_with, run.fingerprints, getattr(run.problem, "about", {}))
        directory.write_report(_report(experiment, run))
        locks.push(lock.pop_all())
        return False


def _is_done(outcome: Outcome, run: Run) -> bool:
    """Whether nothing is left to do; then what the report shows, and its claims, are brought up to date."""
    experiment, directory = outcome.experiment, outcome.directory
    summary = directory.summary
    if summary is None or not experiment.is_done(summary):
        return False
    directory.check_fingerprints(run.fingerprints)
    if directory.report != (report := _report(experiment, run)):
        directory.write_report(report)
    outcome.summary = _judged(experiment, summary)
    if outcome.summary != summary:
        directory.write_summary(outcome.summary)
    return True


def _report(experiment: Experiment, run: Run) -> dict:
    """What the run's report shows, as plain values."""
    about = {"name": type(experiment).__name__, "text": (inspect.getdoc(type(experiment)) or "").partition("\n\n")[0]}
    quantities = {name: quantity.to_dict() for name, quantity in run.quantities.items()}
    return json.loads(to_json(about | experiment.report.to_dict() | {"quantities": quantities}))


def _run(begun: list[tuple[Outcome, Run]], processes: Processes) -> None:
    """Run what has begun; each has its summary in the end, be it of a failure or an interruption."""
    started = time.monotonic()
    try:
        kind = type(begun[0][0].experiment)
        summaries = kind.run_together([(outcome.experiment, run) for outcome, run in begun])
        seconds = (time.monotonic() - started) / len(begun)
        for (outcome, run), summary in zip(begun, summaries, strict=True):
            if isinstance(summary, Exception):
                outcome.error = summary
                _note(outcome, run, failure(summary))
            else:
                outcome.summary = _finish(outcome.experiment, run, {"status": "finished", "seconds": seconds} | summary)
    except KeyboardInterrupt:
        for outcome, run in begun:
            _note(outcome, run, {"status": "interrupted"})
        raise
    except Exception as error:
        for outcome, run in begun:
            if outcome.summary is None and outcome.error is None:
                outcome.error = error
                _note(outcome, run, failure(error))
        if processes.count > 1:
            raise


def _finish(experiment: Experiment, run: Run, summary: dict) -> dict:
    """Write the summary, with the claims, and return what is written."""
    summary = _judged(experiment, json.loads(to_json(summary)))
    if not run.is_first:
        return summary
    if not run.directory.tensorboard.exists():  # an experiment that trains has written its own
        with TensorBoard(run.directory.tensorboard, run.quantities, 0) as board:
            board.describe(experiment.config())
            board.log(_numbers(summary) | {"epoch": 0})
            board.close([])
    run.directory.write_summary(summary)
    return summary


def _numbers(summary: Mapping) -> dict:
    """The numbers of a summary, and of its groups."""
    numbers = {name: value for name, value in summary.items() if isinstance(value, (int, float))}
    groups = {name: _numbers(value) for name, value in summary.items() if isinstance(value, dict)}
    nested = {name: {k: v for k, v in group.items() if not isinstance(v, dict)} for name, group in groups.items()}
    return numbers | {name: group for name, group in nested.items() if group}


def _judged(experiment: Experiment, summary: dict) -> dict:
    """The summary, as summary.json holds it, with what became of the claims."""
    claims = [claim for claim in experiment.report.claims if claim.check is not None]
    judged = [{"text": claim.text, "source": claim.source} | _outcome(claim, summary) for claim in claims]
    return summary | ({"claims": judged} if judged else {})


def _outcome(claim: Claim, summary: Mapping) -> dict:
    """Whether the claim held: true, false, or null where its hypotheses are not met; or why it could not be checked."""
    try:
        held = claim.check(summary) if claim.check is not None else None
        return {"held": None if held is None else bool(held)}
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        log.warning("the claim %r could not be checked: %s", claim.text, reason)
        return {"held": None, "error": reason}


def _note(outcome: Outcome, run: Run, end: dict) -> None:
    """Write how a run has ended that did not finish, beside what its summary says already."""
    if not run.is_first:
        return
    with suppress(OSError, ValueError):  # the disk that ended it may refuse this too
        summary = run.directory.summary or {}
        if not summary or not outcome.experiment.is_done(summary):
            fields = outcome.experiment.config()
            alpha = {"alpha": fields["alpha"]} if "alpha" in fields else {}
            run.directory.write_summary(alpha | {k: v for k, v in summary.items() if k != "error"} | end)


@contextmanager
def _terminable() -> Iterator[None]:
    """A signal to stop as a KeyboardInterrupt, so that what is finished is kept; in the end it is handed on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, _):
        raise KeyboardInterrupt(number)

    numbers = [number for number in stopping_signals() if number != signal.SIGINT]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    except KeyboardInterrupt as stopped:
        _restore(before)
        hand_on(stopped.args[0] if stopped.args else signal.SIGINT)
        raise
    finally:
        _restore(before)


def _restore(handlers: dict) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
