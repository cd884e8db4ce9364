"""The training loop, for one model or for several that share their pass at w_0: read top to bottom, this is a run."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

import torch
from torch import Tensor
from tqdm.contrib.logging import logging_redirect_tqdm

from ..differences import UnsupportedOperator
from ..differences.pair import check_lost
from ..progress import bar
from ..quantities import summary_names
from ..shared_start import can_share, separate
from ..verdict import verdict
from .evaluation import evaluate, share_of, side_by_side
from .interrupt import StopRequest
from .isolation import enter_training
from .member import Member
from .objective import correct
from .placement import forked_generators, random_states, restore_random
from .precision import matmul_precision
from .probes import Probe, Unsuitable, measured, name_of

log = logging.getLogger(__name__)
READ_EVERY = 200  # steps between readings of the accumulated loss, each of which waits for the device
OF_SUMMARY = ("status", "error", "verdict", "claims", "not_measured")  # names that no probe may take


def train(members: Sequence[Member], epochs: int) -> list[dict]:
    """Train each model to ``epochs`` epochs in all and return the summaries, as summary.json holds them.

    Members of one network that train on the same :class:`DeviceData` share the pass at w_0 (see :class:`SharedStart`);
    those whose w_0, batches, arithmetic or position differ take turns, epoch by epoch. A summary's status is
    "finished"; or "diverged" where the loss became non-finite, with the last good measurements.

    Raises:
        ValueError: a model whose loss is not finite before the first step.
        UnsupportedOperator: a loss became nan as no divided difference can express what the model does.
        KeyboardInterrupt: after SIGTERM or Ctrl-C, once all is checkpointed and recorded as "interrupted"; its argument
            is the signal's number.
    """
    return Loop(members, epochs).run()


class Loop:
    """One call of :func:`train`."""

    def __init__(self, members: Sequence[Member], epochs: int):
        self.members, self.epochs = list(members), epochs
        self.stop, self.clock = StopRequest(), Clock()

    def run(self) -> list[dict]:
        with self.stop, ExitStack() as opened:
            self._begin(opened)
            with self._progress() as self.progress, logging_redirect_tqdm():
                while self.stop.signal is None and (waiting := [m for m in self.members if m.is_running(self.epochs)]):
                    self._epoch(_in_step(waiting))
            self.clock.share(self.members)
            summaries = [_finish(member, self.epochs) for member in self.members]
        if self.stop.signal is not None:
            raise KeyboardInterrupt(self.stop.signal)
        return summaries

    def _begin(self, opened: ExitStack) -> None:
        """Measure what is not yet measured, then open the records: what fails before leaves none."""
        for device in {member.device for member in self.members}:
            opened.enter_context(forked_generators(device))
            with suppress(UnsupportedOperator):  # what was lost before is no matter of this run
                check_lost(device)
        for member in self.members:
            opened.enter_context(member.sink.claimed())
            if len(self.members) > 1:
                opened.callback(separate, member.model)
            enter_training(member.model)
            if member.status != "diverged":
                member.status = "running"
        unmeasured = [member for member in self.members if member.is_unmeasured(self.epochs)]
        while unmeasured:
            group = _in_step(unmeasured)
            self._measure(group)
            unmeasured = [member for member in unmeasured if member not in group]
        for member in self.members:
            opened.enter_context(member.sink.opened(member.state))
        self.clock.share(self.members)

    def _epoch(self, group: list[Member]) -> None:
        """One epoch, or what is left of it, of members in step; those that diverge drop out."""
        lead = group[0]
        data, settings = lead.train, lead.settings
        restore_random(lead.state.random, settings.seed, lead.device)
        self.progress.set_description(_describe(group), refresh=False)
        for member in group:
            for parameters in member.state.optimizer.param_groups:
                parameters["lr"] = member.settings.learning_rate(member.state.epoch)
        with matmul_precision(settings.precision):
            outputs_of = side_by_side(group)
            epoch, step = lead.position
            for x, y in data.epoch(settings.batch_size, settings.seed, epoch, start=step):
                for member, outputs in zip(group, outputs_of(x), strict=True):
                    _step(member, outputs.to(data.dtype), y)
                    self.progress.update()
                if group[0].state.step % READ_EVERY == 0 and len(finite := self._finite(group)) < len(group):
                    group, outputs_of = finite, side_by_side(finite)
                if not group or self.stop.signal is not None:
                    break
        group, random = self._finite(group), random_states(lead.device)
        for member in group:
            member.state.random = random
        if self.stop.signal is None:
            self._end_epoch(group)
        for member in group:
            if member.status == "running":
                member.sink.save("last", member.state)
        self.clock.share(group)
        self.progress.set_description(_describe(group), refresh=False)

    def _finite(self, group: list[Member]) -> list[Member]:
        """Those of the members whose losses of this epoch were all finite. Waits for the device."""
        self.clock.share(group)
        for member in group:
            if not math.isfinite(member.state.totals[0].item()):  # one non-finite loss makes the sum so
                _diverge(member)
        return [member for member in group if member.status == "running"]

    def _end_epoch(self, group: list[Member]) -> None:
        running = {m: share_of(m.state.totals[1].item() / len(m.train), m.train) for m in group}
        for member in group:
            member.state.end_epoch()
        due = [member for member in group if member.is_due(self.epochs)]
        if due:
            self._measure(due, running)

    def _measure(self, group: list[Member], running: Mapping[Member, float | None] | None = None) -> None:
        """Evaluate and probe, and where all is finite record it. ``running``: accuracies of the epoch as trained."""
        rows = {}
        with matmul_precision(group[0].settings.precision):
            on_train = evaluate(group, "train")
            with ExitStack() as watches:
                for member in group:
                    for probe in member.probes:
                        if isinstance(probe, Probe):
                            watches.enter_context(probe.watching(member.model))
                on_test = evaluate(group, "test")
            for member, train, test in zip(group, on_train, on_test, strict=True):
                row = {
                    "epoch": member.state.epoch,
                    "alpha": member.model.alpha,
                    "learning_rate": member.settings.learning_rate(member.state.epoch),
                    "train_accuracy_running": (running or {}).get(member),
                    **dict(zip(("train_loss", "train_accuracy"), train, strict=True)),
                    **dict(zip(("test_loss", "test_accuracy"), test, strict=True)),
                    "epochs": member.state.epoch,
                    "seconds": 0.0,
                }
                if math.isfinite(row["train_loss"]) and math.isfinite(row["test_loss"]):
                    rows[member] = row | _probe(member, row)
                    continue
                _diverge(member)
                if not member.state.rows:
                    raise ValueError(
                        f"the loss is not finite before the first step (training set {train[0]}, test set {test[0]}): "
                        f"look for nan in the loss, or for targets that are too large for it"
                    )
        self.clock.share(group)
        for member, row in rows.items():
            _record(member, row | {"seconds": member.state.seconds})

    def _progress(self):
        steps = [-(-len(member.train) // member.settings.batch_size) for member in self.members]
        done = [epoch * n + step for n, (epoch, step) in zip(steps, (m.position for m in self.members), strict=True)]
        total = sum(max(self.epochs * n, d) for n, d in zip(steps, done, strict=True))
        return bar(total=total, initial=sum(done), unit="step")


def _in_step(waiting: list[Member]) -> list[Member]:
    """Those that are to go on from the earliest position and share what is computed at w_0, from here on."""
    lead = min(waiting, key=lambda member: member.position)
    others = [m for m in waiting if m is not lead and m.has_batches_of(lead) and can_share(lead.model, m.model)]
    group = [lead, *others]
    side_by_side(group)  # which lets them have one w_0
    return group


def _step(member: Member, outputs: Tensor, y: Tensor) -> None:
    """One step of SGD from the model's outputs on a batch. Nothing here waits for the device."""
    loss = member.objective(outputs, y)
    optimizer = member.state.optimizer
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    member.state.totals += torch.stack([loss.detach() * len(outputs), correct(outputs.detach(), y)])
    member.state.step += 1


def _diverge(member: Member) -> None:
    """Leave the member as it is, unless its loss is not finite for another reason, which is raised."""
    check_lost(member.device)
    member.status = "diverged"
    separate(member.model)


def _probe(member: Member, row: dict) -> dict:
    """What the probes measure beside ``row``; those that do not fit the module are left out from here on."""
    values: dict = {}
    for probe in list(member.probes):
        name = name_of(probe)
        try:
            found = measured(probe, member.model)
        except Unsuitable as reason:
            member.probes.remove(probe)
            member.not_measured[name] = str(reason)
            log.warning("%s is not measured: %s", name, reason)
            continue
        if taken := sorted(found.keys() & {*row, *values, *OF_SUMMARY}):
            raise ValueError(f"the probe {name} gives {taken[0]}, which is there already: give it another name")
        values |= found
    return values


def _record(member: Member, row: dict) -> None:
    state = member.state
    state.rows.append(row)
    member.sink.append(row)
    if state.score > state.best:
        state.best = state.score
        member.sink.save("best", state)


def _finish(member: Member, epochs: int) -> dict:
    """Write the summary, which is returned."""
    state, alpha, row = member.state, member.model.alpha, member.state.last or {}
    if member.status == "running":
        member.status = "interrupted" if state.epoch < epochs else "finished"
    summary = {"alpha": "inf" if alpha == math.inf else alpha, "status": member.status}
    numbers = [name for name, value in row.items() if not isinstance(value, dict)]
    summary |= {name: row.get(name) for name in summary_names(numbers)}
    summary |= {"epochs": state.epoch, "seconds": state.seconds}
    summary["verdict"] = "diverged" if member.status == "diverged" else verdict(summary)
    if member.not_measured:
        summary["not_measured"] = dict(member.not_measured)
    member.sink.close(summary, state.rows)
    return summary


class Clock:
    """Wall time, of members side by side each one's share."""

    def __init__(self):
        self.last = time.monotonic()

    def share(self, members: Sequence[Member]) -> None:
        """Give the members equal parts of the time since the last call."""
        now = time.monotonic()
        for member in members:
            member.state.seconds += (now - self.last) / len(members)
        self.last = now


def _describe(group: list[Member]) -> str:
    if not group:
        return "diverged"
    return group[0].describe() if len(group) == 1 else f"{len(group)} models, epoch {group[0].state.epoch}"
