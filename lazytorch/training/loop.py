"""The training loop, for one model or for several that share their pass at w_0: read top to bottom, this is a run."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from tqdm.contrib.logging import logging_redirect_tqdm

from ..data import DeviceData
from ..differences.pair import check_lost
from ..progress import bar
from ..quantities import summary_names
from ..shared_start import can_share, separate
from ..verdict import verdict
from .evaluation import evaluate, side_by_side
from .interrupt import StopRequest
from .objective import Objective, correct
from .placement import forked_generators, random_states, restore_random
from .precision import autocast, matmul_precision
from .probes import Unsuitable, measured, name_of
from .settings import Settings
from .sinks import Sink
from .state import State

log = logging.getLogger(__name__)
READ_EVERY = 200  # steps between readings of the accumulated loss, each of which waits for the device


@dataclass(eq=False)
class Member:
    """One of the models that are trained: where it is, what it is trained on and how, and where its records go."""

    state: State
    train: DeviceData
    test: DeviceData
    settings: Settings
    objective: Objective
    output_shape: tuple[int, ...]
    sink: Sink
    probes: list[Callable] = field(default_factory=list)
    status: str = "running"
    not_measured: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> nn.Module:
        return self.state.model

    @property
    def device(self) -> torch.device:
        return self.state.totals.device

    def autocast(self):
        """The context to call the model in."""
        return autocast(self.settings.precision, self.device)

    def is_due(self, epochs: int) -> bool:
        """Whether to measure after the epoch that has just ended."""
        return self.state.epoch % self.settings.evaluate_every == 0 or self.state.epoch == epochs

    def describe(self) -> str:
        """Where it is, in a few words."""
        row = self.state.last or {}
        shown = (("train", "train_accuracy"), ("test", "test_accuracy"))
        results = [f"{name} {row[key]:.3f}" for name, key in shown if row.get(key) is not None]
        return ", ".join([f"alpha={self.model.alpha:g} epoch {self.state.epoch}", *results])


def train(members: Sequence[Member], epochs: int) -> list[dict]:
    """Train each model to ``epochs`` epochs in all and return the summaries, as summary.json holds them.

    Members of one module that train on the same :class:`DeviceData` share the pass at w_0 (see :class:`SharedStart`);
    those whose w_0, batches or position differ take turns, epoch by epoch. A summary's status is "finished"; or
    "diverged" where the loss became non-finite, with the last good measurements.

    Raises:
        ValueError: a model whose loss is not finite before the first step.
        KeyboardInterrupt: after SIGTERM or Ctrl-C, once all is checkpointed and recorded as "interrupted"; its argument
            is the signal's number.
    """
    stop = StopRequest()
    with stop, ExitStack() as opened:
        for device in {member.device for member in members}:
            opened.enter_context(forked_generators(device))
        for member in members:
            member.status = "running"
        for group in _in_company([member for member in members if _is_unmeasured(member, epochs)]):
            _measure(group, [None] * len(group))
        for member in members:
            opened.enter_context(member.sink.opened(member))
        with _progress(members, epochs) as progress, logging_redirect_tqdm():
            while stop.signal is None and (waiting := [m for m in members if _is_running(m, epochs)]):
                _epoch(_in_step(waiting), epochs, progress, stop)
        for member in members:
            separate(member.model)
        summaries = [_finish(member, epochs) for member in members]
    if stop.signal is not None:
        raise KeyboardInterrupt(stop.signal)
    return summaries


def _is_running(member: Member, epochs: int) -> bool:
    return member.status == "running" and member.state.epoch < epochs


def _is_unmeasured(member: Member, epochs: int) -> bool:
    """At the start, and where a run ends whose last epoch was not due when it was trained."""
    last = member.state.last
    return last is None or (
        member.state.epoch >= epochs and member.state.step == 0 and last["epoch"] != member.state.epoch
    )


def _in_company(members: list[Member]) -> list[list[Member]]:
    """``members`` in groups that may share what is computed at w_0."""
    groups: list[list[Member]] = []
    while members:
        groups.append(_in_step(members))
        members = [member for member in members if member not in groups[-1]]
    return groups


def _in_step(waiting: list[Member]) -> list[Member]:
    """Those that are to go on from the earliest position, and may share what is computed at w_0."""
    lead = min(waiting, key=lambda member: (member.state.epoch, member.state.step))
    others = (member for member in waiting if member is not lead)
    return [lead] + [member for member in others if _same_batches(lead, member) and can_share(lead.model, member.model)]


def _same_batches(left: Member, right: Member) -> bool:
    positions = [(m.state.epoch, m.state.step, m.settings.seed, m.settings.batch_size) for m in (left, right)]
    return (
        left.train is right.train
        and left.settings.precision == right.settings.precision
        and positions[0] == positions[1]
    )


def _epoch(group: list[Member], epochs: int, progress, stop: StopRequest) -> None:
    """One epoch, or what is left of it, of members in step; those that diverge drop out."""
    lead, clock = group[0], _Clock()
    settings, position = lead.settings, lead.state
    restore_random(position.random, settings.seed, lead.device)
    progress.set_description(_describe(group), refresh=False)
    for member in group:
        member.model.train()
        for parameters in member.state.optimizer.param_groups:
            parameters["lr"] = member.settings.learning_rate(member.state.epoch)
    outputs_of = side_by_side([member.model for member in group])
    with matmul_precision(settings.precision):
        batches = lead.train.epoch(settings.batch_size, settings.seed, position.epoch, start=position.step)
        for x, y in batches:
            outputs = outputs_of(x)
            for member in group:
                with member.autocast():
                    output = next(outputs)
                _step(member, output.to(lead.train.dtype), y)
                progress.update()
            if group[0].state.step % READ_EVERY == 0:
                clock.share(group)
                finite = [member for member in group if _is_finite(member)]
                for member in group:
                    if member not in finite:
                        separate(member.model)
                if not finite:
                    return
                if len(finite) < len(group):
                    group = finite
                    outputs_of = side_by_side([member.model for member in group])
            if stop.signal is not None:
                break
    random = random_states(lead.device)
    clock.share(group)
    group = [member for member in group if _is_finite(member)]
    for member in group:
        member.state.random = random
    if stop.signal is None:
        _end_epoch(group, epochs)
    clock.share(group)
    for member in group:
        if member.status == "running":
            member.sink.save("last", member)
    progress.set_description(_describe(group), refresh=False)


def _step(member: Member, outputs: Tensor, y: Tensor) -> None:
    """One step of SGD from the model's outputs on a batch. Nothing here waits for the device."""
    loss = member.objective(outputs, y)
    optimizer = member.state.optimizer
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    member.state.totals += torch.stack([loss.detach() * len(outputs), correct(outputs.detach(), y)])
    member.state.step += 1


def _is_finite(member: Member) -> bool:
    """Whether every loss of this epoch was finite; else the run has diverged. Waits for the device."""
    if not math.isfinite(member.state.totals[0].item()):  # one non-finite loss makes the sum so
        check_lost(member.device)
        member.status = "diverged"
    return member.status != "diverged"


def _end_epoch(group: list[Member], epochs: int) -> None:
    running = [member.state.totals[1].item() / len(member.train) for member in group]
    for member in group:
        member.state.epoch, member.state.step = member.state.epoch + 1, 0
        member.state.totals.zero_()
    due = [(member, share) for member, share in zip(group, running, strict=True) if member.is_due(epochs)]
    if due:
        _measure(*map(list, zip(*due, strict=True)))


def _measure(group: list[Member], running: list[float | None]) -> None:
    """Evaluate and probe, and where all is finite record it. ``running``: the epoch's accuracies as it was trained."""
    clock = _Clock()
    with matmul_precision(group[0].settings.precision):
        train = evaluate(group, "train")
        with ExitStack() as watches:
            for member in group:
                for probe in member.probes:
                    if hasattr(probe, "watching"):
                        watches.enter_context(probe.watching(member.model))
            test = evaluate(group, "test")
    for member, share, on_train, on_test in zip(group, running, train, test, strict=True):
        row = {
            "epoch": member.state.epoch,
            "alpha": member.model.alpha,
            "learning_rate": member.settings.learning_rate(member.state.epoch),
            "train_accuracy_running": share,
            **dict(zip(("train_loss", "train_accuracy"), on_train, strict=True)),
            **dict(zip(("test_loss", "test_accuracy"), on_test, strict=True)),
        }
        if math.isfinite(row["train_loss"] + row["test_loss"]):
            row |= _probe(member)
            clock.share(group)
            _record(member, row | {"epochs": member.state.epoch, "seconds": member.state.seconds})
        elif member.state.rows:
            member.status = "diverged"
        else:
            raise ValueError(
                f"the loss is not finite before the first step (training set {row['train_loss']}, test set "
                f"{row['test_loss']}), where all outputs are 0: look for nan in the labels or in the loss"
            )


def _probe(member: Member) -> dict:
    """What the probes measure; those that do not fit the module are left out from here on."""
    values = {}
    for probe in list(member.probes):
        try:
            values |= measured(probe, member.model, member.device)
        except Unsuitable as reason:
            member.probes.remove(probe)
            member.not_measured[name_of(probe)] = str(reason)
            log.warning("%s is not measured: %s", name_of(probe), reason)
    return values


def _record(member: Member, row: dict) -> None:
    state = member.state
    state.rows.append(row)
    member.sink.append(row)
    if row["test_accuracy"] is not None and row["test_accuracy"] > state.best:
        state.best = row["test_accuracy"]
        member.sink.save("best", member)


def _finish(member: Member, epochs: int) -> dict:
    """Write the summary, which is returned."""
    if member.status == "running":
        member.status = "interrupted" if member.state.epoch < epochs else "finished"
    state, alpha = member.state, member.model.alpha
    row = state.last or {}
    summary = {"alpha": "inf" if alpha == math.inf else alpha, "status": member.status}
    numbers = (name for name in row if not isinstance(row[name], dict) and name not in NOT_IN_SUMMARY)
    summary |= {name: row.get(name) for name in summary_names(numbers)}
    summary |= {"epochs": state.epoch, "seconds": state.seconds}
    summary["verdict"] = "diverged" if member.status == "diverged" else verdict(summary)
    if member.not_measured:
        summary["not_measured"] = dict(member.not_measured)
    member.sink.close(summary)
    return summary


NOT_IN_SUMMARY = ("epoch", "alpha")


class _Clock:
    """Wall time, of members side by side each one's share."""

    def __init__(self):
        self.last = time.monotonic()

    def share(self, group: list[Member]) -> None:
        """Give the members equal parts of the time since the last call."""
        now = time.monotonic()
        for member in group:
            member.state.seconds += (now - self.last) / len(group)
        self.last = now


def _describe(group: list[Member]) -> str:
    if not group:
        return "diverged"
    return group[0].describe() if len(group) == 1 else f"{len(group)} models, epoch {group[0].state.epoch}"


def _progress(members: Sequence[Member], epochs: int):
    steps = [-(-len(member.train) // member.settings.batch_size) for member in members]
    done = [m.state.epoch * n + m.state.step for m, n in zip(members, steps, strict=True)]
    return bar(total=sum(max(epochs * n, d) for n, d in zip(steps, done, strict=True)), initial=sum(done), unit="step")
