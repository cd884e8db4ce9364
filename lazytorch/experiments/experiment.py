"""The protocol of experiments: a typed value whose fields are its configuration, all of it and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..reports import Report
from ..runs import canonical
from .fields import check_ranges, flat, key, nested, plain
from .run import Run
from .scale import SCALES


@dataclass(frozen=True)
class Experiment:
    """What is run from a configuration: subclasses add fields, ``run``, and what their report shows.

    A subclass is a frozen dataclass whose fields all have defaults, named by ``_target_`` at the root of the
    configuration. From its fields follow which keys exist, their types and ranges (:func:`key`), and the run's
    identity: the class and the fields that differ from their defaults, without those declared not to change the result.
    ``report`` says what ``lazytorch-report`` draws from the tables that ``run`` writes; an experiment never draws.
    """

    runs_dir: str = key("runs", "each run has its directory, <runs_dir>/<name>/<label>-<hash>", result=False)
    name: str | None = key(None, "the folder of the runs; default: the experiment, else <model>-<data>", result=False)
    seed: int = key(
        0, "of all that is drawn: weights, subsets, batches, augmentation, dropout", at_least=0, below=2**63
    )
    device: str = key("auto", "auto (cuda if there is one), cpu, cuda, cuda:1, ...", result=False)
    resume: Any = key(True, "true: go on from what is there; false: start over", result=False)
    scale: str | None = key(
        None, "of an experiment that has scales: paper, laptop or smoke", one_of=(None, *SCALES), result=False
    )

    #: What ``lazytorch-report`` shows of the runs.
    report: ClassVar[Report] = Report()
    #: Dotted fields in which experiments may differ that are run together, on one problem.
    together: ClassVar[tuple[str, ...]] = ()
    #: Whether the processes that torchrun starts share the work of a run.
    shares_work: ClassVar[bool] = False
    #: Whether to say what a run will cost, and not to run it: a field of those that can, see :meth:`plan_together`.
    plan: ClassVar[bool] = False
    #: Overrides that make a run of it tiny, for a test of its configuration.
    smoke: ClassVar[tuple[str, ...]] = ()

    def check(self) -> None:
        """Raise ValueError, with the remedy, for what cannot be; called before anything is read or written."""
        check_ranges(self)
        if not isinstance(self.resume, bool):
            raise ValueError(f"resume={self.resume}: {type(self).__name__} has no checkpoints, give true or false")

    def problem(self) -> Any:
        """The data and the network, where there are any; experiments that are run together are given one."""
        return None

    def prepare(self, run: Run) -> Any:
        """Try what can go wrong before anything is written; what this returns is ``run.prepared``."""
        return None

    def run(self, run: Run) -> dict:
        """Do it: write tables through ``run``, part by part, and return the summary, the most telling numbers first."""
        raise NotImplementedError

    @classmethod
    def run_together(cls, members: Sequence[tuple["Experiment", Run]]) -> list[dict | Exception]:
        """The summaries of several of one ``company``, or the error that has ended one."""
        return [experiment.run(run) for experiment, run in members]

    @classmethod
    def plan_together(cls, experiments: Sequence["Experiment"]) -> str:
        """What running several of one ``company`` will cost, in words; nothing is written."""
        raise NotImplementedError

    def is_done(self, summary: dict) -> bool:
        """Whether a run with this summary has nothing left to do."""
        return summary["status"] == "finished"

    @property
    def fused(self) -> bool:
        """Whether members of a sweep that may be run together are."""
        return False

    @property
    def company(self) -> str:
        """What experiments that may be run together have in common: all but the fields of ``together``."""
        common = {name: plain(value) for name, value, _ in flat(self) if name not in self.together}
        return canonical({"_target_": self.target()} | common)

    @classmethod
    def target(cls) -> str:
        """The class by the dotted path where it is defined, whatever packages export it."""
        return f"{cls.__module__}.{cls.__qualname__}"

    def config(self) -> dict:
        """The whole configuration as plain values."""
        return {"_target_": self.target()} | nested(self)

    def changed(self) -> dict:
        """The fields that differ from their defaults, by dotted name, and the seed: what tells runs apart."""
        usual = {name: plain(value) for name, value, _ in flat(type(self)())}
        counting = {name: plain(value) for name, value, field in flat(self) if field.metadata.get("result", True)}
        return {name: value for name, value in counting.items() if name in ("alpha", "seed") or value != usual[name]}
