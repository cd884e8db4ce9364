"""Running experiments: what is finished is left as it is, what was interrupted goes on, and errors are recorded."""

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..runs import RunDirectory, identity, label, locate
from ..training.placement import find_device
from ..training.sinks import failure
from ..training.tensorboard import TensorBoard
from ..training.versions import versions
from .experiment import Experiment
from .run import Run

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What has come of an experiment: its directory and summary, or the error."""

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
    """As :func:`perform`, for members of one sweep that differ in ``together`` alone and share one problem.

    Each has its own directory, which holds what running it alone would have written. An error that concerns all is
    raised, one that concerns a member is in its outcome.
    """
    for experiment in experiments:
        experiment.check()
    outcomes = [Outcome(experiment, directory_of(experiment)) for experiment in experiments]
    distinct = list({outcome.directory.path: outcome for outcome in outcomes}.values())
    problem = experiments[0].problem()
    with ExitStack() as locks, _terminable():
        begun = [(outcome, run) for outcome in distinct if (run := _begin(outcome, problem, locks)) is not None]
        if begun:
            _run(begun)
    by_path = {outcome.directory.path: outcome for outcome in distinct}
    return [by_path[outcome.directory.path] for outcome in outcomes]


def directory_of(experiment: Experiment) -> RunDirectory:
    """Where the run is, or will be."""
    changed = experiment.changed()
    name = experiment.name or type(experiment).__name__.lower()
    if name in (".", "..") or Path(name).name != name:
        raise ValueError(f"name={name} is not the name of a folder: leave out slashes, and use runs_dir for paths")
    parent = Path(experiment.runs_dir).expanduser() / name
    return locate(parent, label(changed), identity(experiment.target(), changed))


def _begin(outcome: Outcome, problem, locks: ExitStack) -> Run | None:
    """Prepare the experiment and its directory, whose lock ``locks`` keeps; None if there is nothing to do."""
    experiment, directory = outcome.experiment, outcome.directory
    run = Run(directory, problem, fingerprints=dict(getattr(problem, "fingerprints", {})))
    lock = ExitStack()
    try:
        run.prepared = experiment.prepare(run)
        lock.enter_context(directory.lock(wait=True))
        if experiment.resume is False:
            directory.clear()
        quantities = {name: quantity.to_dict() for name, quantity in run.quantities.items()}
        about = getattr(problem, "about", {})
        config = experiment.config() | {"changed": experiment.changed()}
        directory.create(config, versions(find_device(experiment.device)), run.fingerprints, about)
        directory.write_report(experiment.report.to_dict() | {"quantities": quantities})
        summary = directory.summary
        if summary is not None and experiment.is_done(summary):
            outcome.summary, outcome.was_done = summary, True
            log.info("%s is done (%s): %s", directory.path.name, summary["status"], directory.path)
            lock.close()
            return None
    except Exception as error:
        lock.close()
        outcome.error = error
        return None
    locks.push(lock)
    return run


def _run(begun: list[tuple[Outcome, Run]]) -> None:
    """Run what has begun; each summary is written, be it of a failure or an interruption."""
    started = time.monotonic()
    try:
        kind = type(begun[0][0].experiment)
        summaries = kind.run_together([(outcome.experiment, run) for outcome, run in begun])
    except KeyboardInterrupt:
        for _, run in begun:
            _write_unless_done(run, {"status": "interrupted"})
        raise
    except Exception as error:
        for outcome, run in begun:
            outcome.error = error
            _write_unless_done(run, failure(error))
        return
    seconds = (time.monotonic() - started) / len(begun)
    for (outcome, run), summary in zip(begun, summaries, strict=True):
        outcome.summary = _finish(outcome.experiment, run, {"status": "finished", "seconds": seconds} | summary)


def _finish(experiment: Experiment, run: Run, summary: dict) -> dict:
    claims = [
        {"text": claim.text, "held": claim.check(summary), "source": claim.source}
        for claim in experiment.report.claims
        if claim.check is not None
    ]
    if claims:
        summary["claims"] = claims
    run.directory.write_summary(summary)
    if not run.directory.tensorboard.exists():  # an experiment that trains has written its own
        with TensorBoard(run.directory.tensorboard, run.quantities, 0) as board:
            numbers = {k: v for k, v in summary.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
            board.log(numbers | {"epoch": 0})
            board.close(experiment.changed(), summary, [])
    return summary


def _write_unless_done(run: Run, summary: dict) -> None:
    there = run.directory.summary
    if there is None or there["status"] not in ("interrupted", "failed"):
        run.directory.write_summary((there or {}) | summary)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM as a KeyboardInterrupt, so that what is finished is kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number, _):
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
