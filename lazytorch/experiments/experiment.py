"""The protocol of experiments: a typed value whose fields are its configuration, all of it and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..reports import Report
from .fields import check_ranges, default_of, flat, key, plain
from .run import Run


@dataclass(frozen=True)
class Experiment:
    """What is run from a configuration: subclasses add fields, ``run``, and what their report shows.

    A subclass is a frozen dataclass, named by ``_target_`` at the root of the configuration. From its fields follow
    which keys exist, their types and ranges (:func:`key`), and the run's identity: the class and the fields that differ
    from their defaults, without those declared not to change the result. ``report`` says what ``lazytorch-report``
    draws from the tables that ``run`` writes; an experiment never draws.
    """

    runs_dir: str = key("runs", "each run has its directory, <runs_dir>/<name>/<label>-<hash>", result=False)
    name: str | None = key(None, "the folder of the runs; default: the experiment, else <model>-<data>", result=False)
    seed: int = key(0, "of all that is drawn: initial weights, subsets, batches, augmentation, dropout", at_least=0)
    device: str = key("auto", "auto (cuda if there is one), cpu, cuda, cuda:1, ...", result=False)
    resume: Any = key(True, "true: go on from what is there; false: start over", result=False)

    report: ClassVar[Report] = Report()

    def check(self) -> None:
        """Raise ValueError, with the remedy, for what cannot be; called before anything is read or written."""
        check_ranges(self)
        if not isinstance(self.resume, bool):
            raise ValueError(f"resume={self.resume}: {type(self).__name__} has no checkpoints, give true or false")

    def problem(self) -> Any:
        """The data and the network, where there are any; members of a sweep that share them are given one."""
        return None

    def prepare(self, run: Run) -> Any:
        """Try what can go wrong before anything is written; what this returns is ``run.prepared``."""
        return None

    def run(self, run: Run) -> dict:
        """Do it: write tables through ``run``, part by part, and return the summary."""
        raise NotImplementedError

    @classmethod
    def run_together(cls, members: Sequence[tuple["Experiment", Run]]) -> list[dict]:
        """The summaries of several, which differ in the fields of ``together`` alone."""
        return [experiment.run(run) for experiment, run in members]

    #: Dotted fields over which members of one sweep may be run together, sharing one problem.
    together: ClassVar[tuple[str, ...]] = ()

    def is_done(self, summary: dict) -> bool:
        """Whether a run with this summary has nothing left to do."""
        return summary["status"] == "finished"

    @classmethod
    def target(cls) -> str:
        """The class by its dotted path."""
        return f"{cls.__module__}.{cls.__qualname__}"

    def config(self) -> dict:
        """The whole configuration as plain values."""
        return {"_target_": self.target()} | plain(self)

    def changed(self) -> dict:
        """The fields that differ from their defaults, by dotted name, and the seed: what tells runs apart."""
        counting = [(name, value, field) for name, value, field in flat(self) if field.metadata.get("result", True)]
        return {
            name: plain(value)
            for name, value, field in counting
            if name in ("alpha", "seed") or plain(value) != plain(default_of(field))
        }
