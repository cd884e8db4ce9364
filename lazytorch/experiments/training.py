"""Training a network at one alpha: the default experiment, and the member of every sweep over alpha."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from torch import Tensor

from .. import models
from ..activations import zero_preactivations
from ..anchored import check_alpha
from ..centered import CenteredModel
from ..reports import TRAINING
from ..runs import spell_float
from ..shared_start import can_share, lend_weights
from ..training import Trainer
from ..training.loop import train
from ..training.precision import PRECISIONS
from ..training.probes import STANDARD, Probe, declared_quantities, make_probes
from ..training.script import start_from
from ..training.settings import Settings
from ..training.sinks import RunSink
from .fields import check_ranges, key
from .planning import log_plan, plan_in_full
from .problem import NetworkExperiment, Problem
from .run import Run

log = logging.getLogger(__name__)
KINK_SHARE = 0.01


@dataclass(frozen=True)
class Optimizer:
    """SGD."""

    lr: float = key(1.0, "learning rate at epoch 0", above=0)
    momentum: float = key(0.9, "heavy-ball momentum", at_least=0, below=1)


@dataclass(frozen=True)
class Schedule:
    """The learning rate lr / (1 + beta epoch)."""

    beta: float = key(1 / 3, "learning rate lr / (1 + beta * epoch)", at_least=0)


@dataclass(frozen=True)
class Stopping:
    """When training ends before its epochs."""

    patience: int = key(
        0,
        "evaluations without a better validation accuracy, then training ends; 0: all epochs",
        at_least=0,
    )
    tolerance: float = key(0.0, "how much above the best before is better", at_least=0, below=1)


@dataclass(frozen=True)
class Sweep:
    """How the members of a sweep are run."""

    fused: bool = key(False, "members that differ in alpha and lr alone train side by side", result=False)


@dataclass(frozen=True)
class Training(NetworkExperiment):
    """SGD with momentum on theta at scale alpha (Chizat, Oyallon & Bach 2019, section 3.2)."""

    precision: str = key("float32", "float32, tf32, bf16 (autocast), float64", one_of=PRECISIONS)
    alpha: float = key(1.0, "the scale, in (0, inf]; inf is the linearized model")
    epochs: int = key(20, "in all; a finished run goes on when asked for more", at_least=1, result=False)
    loss: Any = key("mse", "mse, cross_entropy, or {_target_: module.function} of (outputs, labels)")
    batch_size: int = key(128, "the last batch of an epoch may be smaller", at_least=1)
    optimizer: Optimizer = key(factory=Optimizer, meaning="SGD")
    schedule: Schedule = key(factory=Schedule, meaning="of the learning rate")
    difference: str = key(
        "divided", "divided, or direct: two passes subtracted, in float64", one_of=("divided", "direct")
    )
    compile: bool = key(False, "true: steps run as one compiled graph; the first takes from seconds to minutes")
    cudnn_benchmark: bool = key(False, "true: cuDNN takes the convolutions it finds fastest; roundings vary by run")
    probes: tuple[Any, ...] = key(STANDARD, "what is measured: displacement, ntk, activations, linearization, own.Name")
    probe_size: int = key(16, "test inputs on which kernel and linearization error are measured", at_least=1)
    evaluate_every: int = key(1, "epochs between evaluations, besides epoch 0 and the last", at_least=1)
    stopping: Stopping = key(factory=Stopping, meaning="of training before its epochs")
    sweep: Sweep = key(factory=Sweep, meaning="of the members of a sweep")
    plan: bool = key(False, "true: print what it costs, in time and memory; train and write nothing", result=False)
    resume: Any = key(
        True, "true: go on from this run's checkpoint; false: start over; a path: start from there", result=False
    )

    report = TRAINING
    shares_work = True
    together = ("alpha", "optimizer.lr")
    smoke = (
        *("data=digits", "data.train_size=50", "data.test_size=50", "data.validation_size=20"),
        *("model.width=0.05", "epochs=1", "probe_size=4"),
    )

    @property
    def fused(self) -> bool:
        return self.sweep.fused

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range."""
        check_alpha(self.alpha)
        check_ranges(self)
        if self.difference == "direct" and self.precision != "float64":
            reason = f"which in {self.precision} leaves rounding: use precision=float64"
            raise ValueError(f"difference=direct subtracts two passes, {reason}")
        if self.compile and self.difference == "direct":
            raise ValueError("compile=true, but difference=direct has no program to compile: use compile=false")
        if self.compile and self.sweep.fused:
            raise ValueError("compile=true, but members of a fused sweep share their steps: use sweep.fused=false")
        if not isinstance(self.resume, (bool, str)):
            raise ValueError(f"resume={self.resume!r}: give true, false, or the path of a checkpoint")
        if isinstance(self.resume, str) and not Path(self.resume).expanduser().is_file():
            raise ValueError(f"checkpoint {self.resume} does not exist: give the path of a run's checkpoints/last.pt")

    def changed(self) -> dict:
        """As of any experiment; a run that starts from a checkpoint is another run, told apart by its content."""
        start = start_from(Path(self.resume).expanduser()) if isinstance(self.resume, str) else {}
        return start | super().changed()

    def prepare(self, run: Run) -> Trainer:
        """The trainer, tried on a few examples."""
        problem = run.problem
        train, test = problem.data(self.precision)
        x, _ = test.head(self.probe_size)
        probes = self._probes(problem, x)
        problem.once("kinks", lambda: _warn_of_kinks(problem, train))
        trainer = Trainer(
            self._model(problem),
            train,
            test,
            loss=find_loss(self.loss),
            lr=self.optimizer.lr,
            momentum=self.optimizer.momentum,
            beta=self.schedule.beta,
            batch_size=self.batch_size,
            probes=probes,
            run_dir=RunSink(run.directory),
            seed=self.seed,
            precision=self.precision,
            evaluate_every=self.evaluate_every,
            validation=problem.served(self.precision).get("validation"),
            patience=self.stopping.patience,
            tolerance=self.stopping.tolerance,
            compile=self.compile,
            cudnn_benchmark=self.cudnn_benchmark,
        )
        run.fingerprints |= {name: value for name, value in trainer.fingerprints.items() if name == "loss"}
        run.quantities |= declared_quantities(probes)
        return trainer

    def settings(self) -> Settings:
        """How it is trained."""
        return Settings(
            find_loss(self.loss),
            self.optimizer.lr,
            self.optimizer.momentum,
            self.schedule.beta,
            self.batch_size,
            self.seed,
            self.precision,
            self.evaluate_every,
            self.stopping.patience,
            self.stopping.tolerance,
            self.compile,
            self.cudnn_benchmark,
        )

    def _model(self, problem: Problem) -> CenteredModel:
        """At w_0, which is in memory once for all that are run together, the network as it was built among them."""
        model = CenteredModel(problem.net, self.alpha, self.difference)
        first = problem.once("first model", lambda: model)
        if model is first:
            lend_weights(model, problem.net)
        elif can_share(first, model):
            model.share_start(first)
            model.own_buffers()
        return model

    def _probes(self, problem: Problem, x: Tensor) -> list[Callable]:
        """Those of names are shared by all that are run together, as one w_0 has one kernel there; others are not."""
        found = [find_probe(probe) for probe in self.probes]
        names = [probe for probe in found if isinstance(probe, str)]
        shared = problem.once("probes", lambda: dict(zip(names, make_probes(names, x), strict=True)))
        return [shared[probe] if isinstance(probe, str) else make_probes([probe], x)[0] for probe in found]

    @classmethod
    def plan_together(cls, experiments: Sequence["Training"]) -> str:
        return plan_in_full(experiments)

    @classmethod
    def run_together(cls, members: Sequence[tuple["Training", Run]]) -> list[dict | Exception]:
        """Train members of one w_0 at several alphas and learning rates, which share the pass there."""
        for experiment, run in members:
            trainer = run.prepared
            if trainer.resume():
                alpha = spell_float(experiment.alpha)
                log.info("alpha=%s goes on from epoch %d: %s", alpha, trainer.epoch, run.path)
            elif isinstance(experiment.resume, str):
                trainer.resume(Path(experiment.resume).expanduser())
        log_plan(members)
        trained = [run.prepared.member for _, run in members]
        train(trained, members[0][0].epochs)
        return [member.error or member.summary for member in trained]

    def is_done(self, summary: dict) -> bool:
        """Whether the run has diverged, has settled, or has all the epochs that are asked for."""
        if summary["status"] == "finished":
            return summary.get("has_settled", False) or summary["epochs"] >= self.epochs
        return summary["status"] == "diverged"


def find_loss(loss: Any) -> str | Callable:
    """``loss`` by name, or the function that {_target_: module.function} names.

    Raises:
        ValueError: it is neither, or cannot be imported.
    """
    if isinstance(loss, str):
        return loss
    if not isinstance(loss, dict) or set(loss) != {"_target_"}:
        raise ValueError(f"loss is {loss!r}: give mse, cross_entropy, or +loss._target_=module.function alone")
    function = models.find_target(str(loss["_target_"]), "loss")
    if not _is_function(function):
        kind = type(function).__name__
        raise ValueError(f"loss._target_={loss['_target_']} is a {kind}: name a function (outputs, labels)")
    return function


def find_probe(probe: Any) -> Any:
    """A probe's name as it is; of module.Name, the :class:`Probe` subclass or function of the model.

    Raises:
        ValueError: it cannot be imported, or is neither.
    """
    target = probe.get("_target_") if isinstance(probe, dict) else probe
    if not isinstance(target, str):
        raise ValueError(f"a probe is {probe!r}: give a name such as ntk, or module.Name of your own")
    if "." not in target:
        return target
    found = models.find_target(target, "probe")
    if not (isinstance(found, type) and issubclass(found, Probe)) and not _is_function(found):
        raise ValueError(f"probe {target} is neither a lazytorch.training.Probe subclass nor a function of the model")
    return found


def _is_function(value: Any) -> TypeGuard[Callable]:
    return callable(value) and type(value).__name__ == "function"


def _warn_of_kinks(problem, train) -> None:
    share = zero_preactivations(problem.network().eval(), train.head(64)[0])
    if share > KINK_SHARE:
        log.warning(
            "%.0f%% of the ReLU preactivations at w_0 are exactly 0, where derivatives are one-sided: "
            "normalise the data so that the background is not 0 (data.mean, data.std)",
            100 * share,
        )
