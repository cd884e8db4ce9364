"""What a training will cost in operations, memory and hours, found before it by a rehearsal without values."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..data import DeviceData
from ..differences.ends import LARGE
from .counting import Cost
from .evaluation import BATCH, batch_of
from .rehearsal import Build, Rehearsal, rehearse, rehearse_released
from .settings import Settings
from .timing import STEPS, Timing

#: Dense peaks in TFLOP/s by class of device and arithmetic, of which :data:`SUSTAINED` is assumed to be reached.
PEAKS = {
    "2 CPU cores": {"float32": 0.3, "bf16": 0.3, "float64": 0.1},
    "A100": {"float32": 19.5, "tf32": 156, "bf16": 312, "float64": 9.7},
    "H100": {"float32": 67, "tf32": 495, "bf16": 989, "float64": 34},
}
SUSTAINED = 1 / 3


@dataclass(frozen=True)
class Amount:
    """How much is trained: ``members`` side by side in each of ``runs`` trainings.

    Each has ``epochs`` of ``steps`` steps, the last batch counted as the part of one that it is, and evaluates
    ``evaluated`` examples ``evaluations`` times; that at epoch 0, where all outputs are 0, is not counted. Its batches
    come in ``shapes`` shapes, each of which is traced once; evaluations take ``batch`` at a time.
    """

    members: int
    runs: int
    epochs: int
    steps: float
    evaluations: int
    evaluated: int
    shapes: int = 0
    batch: int = BATCH


@dataclass(frozen=True)
class Part:
    """A way to train: the cost of a ``step`` of all members side by side, and of one ``evaluation`` of all sets."""

    amount: Amount
    step: Cost
    evaluation: Cost

    @property
    def epoch(self) -> float:
        """FLOPs of an epoch's steps."""
        return self.step.flops * self.amount.steps

    @property
    def flops(self) -> float:
        """Of all steps and evaluations."""
        once = self.amount.epochs * self.epoch + self.amount.evaluations * self.evaluation.flops
        return self.amount.runs * once

    def seconds_to_time(self, probes: Iterable[Cost]) -> float:
        """About what :func:`lazytorch.training.timing.time_parts` takes of a CPU, for a part of one member."""
        evaluation = self.evaluation.flops * min(1, self.amount.batch / self.amount.evaluated)
        training = (STEPS + 1) * self.step.flops + 2 * evaluation
        probing = 2 * sum(cost.flops for cost in probes)
        return training / rate("2 CPU cores", "float32") + probing / rate("2 CPU cores", "float64")


@dataclass(frozen=True)
class Plan:
    """Operations and bytes of a training; see :func:`make_plan`.

    ``training``: of the members that are trained side by side; ``alone``: of each by itself, at the first alpha;
    ``released``: of each in the paper's released protocol. ``probes``: of one member each, at w; ``not_counted``: probe
    -> why. ``data``: bytes of the image sets, which are part of every peak; ``parameters`` of the network.
    """

    precision: str
    parameters: int
    data: int
    training: Part
    alone: Part
    released: Part | None = None
    probes: Mapping[str, Cost] = field(default_factory=dict)
    not_counted: Mapping[str, str] = field(default_factory=dict)

    @property
    def memory(self) -> int:
        """Bytes of tensors at the peak of the whole run; what the process takes by itself comes on top."""
        costs = (self.training.step, self.training.evaluation, *self.probes.values())
        return max(cost.memory for cost in costs)

    @property
    def probing(self) -> float:
        """FLOPs of all probes in all: of every member at every evaluation, and once at w_0."""
        amount = self.training.amount
        times = amount.runs * (1 + amount.members * amount.evaluations)
        return times * sum(cost.flops for cost in self.probes.values())

    @property
    def flops(self) -> float:
        """Of the whole run."""
        return self.training.flops + self.probing

    def seconds(self, device: str) -> float | None:
        """On a class of device of :data:`PEAKS`, None where it does not have the precision; probes are in float64."""
        if self.precision not in PEAKS[device]:
            return None
        return self.training.flops / rate(device, self.precision) + self.probing / rate(device, "float64")

    def released_seconds(self, device: str) -> float:
        """As :meth:`seconds`, of the released protocol, in float64 and without probes; nan where it is not counted."""
        return self.released.flops / rate(device, "float64") if self.released else math.nan

    def timed(self, timing: Timing) -> float:
        """Seconds by what one member took; of several side by side by their operations."""
        amount = self.training.amount
        whole = timing.evaluation * amount.evaluated / timing.evaluated
        step = timing.step * _ratio(self.training.step, self.alone.step)
        evaluation = whole * _ratio(self.training.evaluation, self.alone.evaluation)
        probing = (1 + amount.members * amount.evaluations) * timing.probing
        once = amount.shapes * timing.tracing + probing
        return amount.runs * (amount.epochs * amount.steps * step + amount.evaluations * evaluation + once)


def _ratio(cost: Cost, other: Cost) -> float:
    return cost.flops / other.flops if other.flops else 1.0


def rate(device: str, precision: str) -> float:
    """The FLOPs a second that are assumed."""
    return SUSTAINED * PEAKS[device][precision] * 1e12


def make_plan(
    build: Build,
    sets: Mapping[str, DeviceData],
    settings: Settings,
    alphas: Sequence[float],
    epochs: int,
    *,
    runs: int = 1,
    difference: str = "divided",
    probes: Sequence[str] = (),
    probe_size: int = 16,
    in_full: bool = True,
) -> Plan:
    """The plan of training members of one network at ``alphas`` side by side, in each of ``runs`` such trainings.

    ``build`` returns the network, be it made anew, without values then, or one that there is; ``sets`` are those to
    train, test and perhaps validate on. A training's own steps, evaluations and probes are run on tensors without
    values: no weight is allocated, no generator moves, nothing is written. Of many members, at alpha <= 1 or above, two
    and three are counted: every further one adds the same. Not ``in_full``, neither probes nor the released protocol
    are counted.

    Cost: a trace of the network and a few steps without arithmetic, about a second; the probe ntk takes several.

    Raises:
        Exception: whatever a module raises that needs values, in its constructor or its forward.
    """
    common = (difference, probes, probe_size)
    single = rehearse(build, sets, settings, alphas[:1], *common, measuring=in_full)
    batch = batch_of(single.parameters)
    of_evaluations = set().union(*(_sizes(each, batch) for each in sets.values()))
    amount = Amount(
        len(alphas),
        runs,
        epochs,
        len(sets["train"]) / settings.batch_size,
        sum(settings.is_due(epoch, epochs) for epoch in range(1, epochs + 1)),
        sum(map(len, sets.values())),
        len(_sizes(sets["train"], settings.batch_size)) + len(of_evaluations),
        batch,
    )
    whole = single
    if len(alphas) > 1:
        whole = _of_all(alphas, lambda group: rehearse(build, sets, settings, group, *common, measuring=False))
    data = sum(part.inputs.nbytes + part.labels.nbytes for part in sets.values())
    beside = data + whole.live - single.live  # when a member is probed
    return Plan(
        settings.precision,
        single.parameters,
        data,
        _part(whole, amount, data),
        _part(single, _alone(amount), data),
        _part(rehearse_released(build, sets, settings), _alone(amount), data) if in_full else None,
        {name: Cost(cost.flops, cost.memory + beside) for name, cost in single.probes.items()},
        single.not_counted,
    )


def _alone(amount: Amount) -> Amount:
    """The same members one after another."""
    return replace(amount, members=1, runs=amount.runs * amount.members)


def _sizes(data: DeviceData, batch: int) -> set[int]:
    """Those of the batches of a set."""
    return {min(len(data), batch), len(data) % batch} - {0}


def _of_all(alphas: Sequence[float], rehearsed: Callable[[list[float]], Rehearsal]) -> Rehearsal:
    """Members of one kind, by pairs or by two passes, beyond the third cost what the third does."""
    kinds = [[a for a in alphas if 1 / a < LARGE], [a for a in alphas if 1 / a >= LARGE]]
    whole = found = rehearsed([alpha for kind in kinds for alpha in kind[:3]])
    for kind in kinds:
        if more := len(kind[3:]):
            before = rehearsed([alpha for each in kinds for alpha in each[: 2 if each is kind else 3]])
            whole = _with_further(whole, more, before, found)
    return whole


def _with_further(whole: Rehearsal, more: int, before: Rehearsal, found: Rehearsal) -> Rehearsal:
    """As many times more of what ``found`` has beyond ``before``."""

    def further(name: str) -> Cost:
        start, a, b = (getattr(each, name) for each in (whole, before, found))
        return Cost(start.flops + more * (b.flops - a.flops), start.memory + more * (b.memory - a.memory))

    live = whole.live + more * (found.live - before.live)
    return Rehearsal(further("step"), further("evaluation"), whole.evaluated, live, whole.parameters)


def _part(found: Rehearsal, amount: Amount, data: int) -> Part:
    evaluation = found.evaluation.flops * amount.evaluated // found.evaluated
    return Part(
        amount,
        Cost(found.step.flops, found.step.memory + data),
        Cost(evaluation, found.evaluation.memory + data),
    )
