"""The training loop, for one model or for several that share their pass at w_0: read top to bottom, this is a run."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress

from tqdm.contrib.logging import logging_redirect_tqdm

from ..differences import UnsupportedOperator
from ..differences.jumps import check_lost
from ..progress import bar
from ..quantities import summary_names
from ..shared_start import can_share, separate_buffers
from ..verdict import verdict
from .description import describe
from .evaluation import evaluate, share_of, side_by_side
from .interrupt import StopRequest
from .isolation import enter_training
from .member import Member
from .placement import forked_generators, let_go, random_states, restore_random
from .probes import Probe, Unsuitable, measured, name_of
from .sinks import failure
from .step import step_of

log = logging.getLogger(__name__)
READ_EVERY = 200  # steps between readings of the accumulated loss, each of which waits for the device
BAR = "{l_bar}{bar}| [{elapsed}<{remaining}]"  # without numbers of steps, so that all fits into 80 columns
OF_SUMMARY = ("status", "error", "verdict", "claims", "has_settled", "not_measured")  # names that no probe may take


def train(members: Sequence[Member], epochs: int) -> None:
    """Train each model to ``epochs`` epochs in all; its ``summary`` is then what summary.json holds.

    Members of one network that train on the same :class:`DeviceData` share the pass at w_0 (see :class:`SharedStart`);
    those whose w_0, batches, arithmetic or position differ take turns, epoch by epoch. Those that have shared it do so
    until :func:`lazytorch.shared_start.separate`. A summary's status is
    "finished"; or "diverged" where the loss became non-finite, with the last good measurements.

    A member that has settled, by its own stopping rule, is "finished" before ``epochs``.

    A member that an error ends, in its model, loss or probes, is "failed" and keeps the error; the others are trained
    to their ends. Where that is before it has been measured for the first time it leaves no records, and no summary.

    Raises:
        KeyboardInterrupt: after SIGTERM or Ctrl-C, once all is checkpointed and recorded as "interrupted"; its argument
            is the signal's number.
    """
    Loop(members, epochs).run()


class Loop:
    """One call of :func:`train`."""

    def __init__(self, members: Sequence[Member], epochs: int):
        self.members, self.epochs = list(members), epochs
        self.stop, self.clock, self.processes = StopRequest(), Clock(), self.members[0].processes
        self.signal = 0  # that has asked one of the processes to stop, once all know it

    def run(self) -> None:
        with self.stop, ExitStack() as opened:
            self._begin(opened)
            with self._progress() as self.progress, logging_redirect_tqdm():
                while not self._is_stopping() and (waiting := [m for m in self.members if m.is_running(self.epochs)]):
                    self._epoch(_in_step(waiting))
            self.clock.share(self.members)
            for member in self.members:
                if member.state.rows:
                    member.summary = _finish(member, self.epochs)
        if self.signal:
            raise KeyboardInterrupt(self.signal)

    def _is_stopping(self, step: int = 0) -> bool:
        """Whether a process was asked to stop, which all do at one step; of several on a GPU where losses are read."""
        device = self.members[0].device
        if self.processes.count == 1 or device.type == "cpu" or step % READ_EVERY == 0:
            self.signal = self.processes.largest(self.stop.signal or 0, device)
        return self.signal > 0

    def _begin(self, opened: ExitStack) -> None:
        """Measure what is not yet measured, then open the records: what fails before leaves none."""
        for device in {member.device for member in self.members}:
            opened.enter_context(forked_generators(device))
            with suppress(UnsupportedOperator):  # what was lost before is no matter of this run
                check_lost(device)
        with self.processes.together():
            for member in self.members:
                opened.enter_context(member.sink.claimed())
        for member in self.members:
            enter_training(member.model)
            if member.status != "diverged":
                member.status, member.error = "running", None
        unmeasured = [member for member in self.members if member.is_unmeasured(self.epochs)]
        while unmeasured:
            group = _in_step(unmeasured)
            self._measure(group)
            unmeasured = [member for member in unmeasured if member not in group]
        for member in self.members:
            if member.state.rows:
                opened.enter_context(member.sink.opened(member.state))
        self.clock.share(self.members)

    def _epoch(self, group: list[Member]) -> None:
        """One epoch, or what is left of it, of members in step; those that diverge drop out."""
        lead = group[0]
        data, settings = lead.train, lead.settings
        restore_random(lead.state.random, settings.seed, lead.device, self.processes)
        self.progress.set_description(describe(group), refresh=False)
        for member in group:
            for parameters in member.state.optimizer.param_groups:
                parameters["lr"] = member.settings.learning_rate(member.state.epoch)
        with settings.arithmetic():
            step = step_of(group)
            epoch, start = lead.position
            for x, y in data.epoch(settings.batch_size, settings.seed, epoch, start, self.processes.part):
                step(x, y)
                self.progress.update(len(group))
                taken = group[0].state.step
                left = self._finite(group) if taken % READ_EVERY == 0 else _running(group)
                if len(left) < len(group):
                    self._let_go(group)
                    group, step = left, step_of(left)
                if not group or self._is_stopping(taken):
                    break
        group, random = self._finite(group), random_states(lead.device, self.processes)
        for member in group:
            member.state.random = random
        if not self.signal:
            self._end_epoch(group)
        for member in group:
            if member.status == "running":
                member.sink.save("last", member.state)
        self.clock.share(group)
        self.progress.set_description(describe(group), refresh=False)

    def _finite(self, group: list[Member]) -> list[Member]:
        """Those of the members whose losses of this epoch were all finite. Waits for the device."""
        self.clock.share(group)
        for member in _running(group):
            if not math.isfinite(member.state.totals[0].item()):  # one non-finite loss makes the sum so
                with member.guarded():
                    _diverge(member)
        return _running(group)

    def _end_epoch(self, group: list[Member]) -> None:
        running = {m: share_of(m.state.totals[1].item() / len(m.train), m.train) for m in group}
        for member in group:
            member.state.end_epoch()
        due = [member for member in group if member.is_due(self.epochs)]
        if due:
            self._measure(due, running)
        for member in due:
            if member.has_settled:
                separate_buffers(member.model)

    def _measure(self, group: list[Member], running: Mapping[Member, float | None] | None = None) -> None:
        """Evaluate and probe, and where all is finite record it. ``running``: accuracies of the epoch as trained."""
        rows = {}
        with group[0].settings.arithmetic():
            on_train = evaluate(group, "train")
            on_validation = evaluate([member for member in group if member.validation is not None], "validation")
            with ExitStack() as watches:
                for member in group:
                    for probe in member.probes:
                        if isinstance(probe, Probe):
                            watches.enter_context(probe.watching(member.model))
                on_test = evaluate(group, "test")
            for member, on_test_set in on_test.items():
                row = _row(member, on_train[member], on_test_set, (running or {}).get(member))
                if member in on_validation:
                    row |= dict(zip(("validation_loss", "validation_accuracy"), on_validation[member], strict=True))
                with member.guarded():
                    if math.isfinite(row["train_loss"]) and math.isfinite(row["test_loss"]):
                        rows[member] = row | _probe(member, row)
                    elif member.state.rows:
                        _diverge(member)
                    else:
                        _refuse(member, row)
        self.clock.share(group)
        self._let_go(group)
        for member, row in rows.items():
            _record(member, row | {"seconds": member.state.seconds})

    def _let_go(self, group: list[Member]) -> None:
        """Let those of the members that have failed leave room for the others."""
        for member in group:
            if member.error is not None and len(self.members) > 1:
                let_go(member.error)

    def _progress(self):
        steps = [-(-len(member.train) // member.settings.batch_size) for member in self.members]
        done = [epoch * n + step for n, (epoch, step) in zip(steps, (m.position for m in self.members), strict=True)]
        total = sum(max(self.epochs * n, d) for n, d in zip(steps, done, strict=True))
        return bar(total=total, initial=sum(done), unit="step", desc=describe(self.members), bar_format=BAR)


def _in_step(waiting: list[Member]) -> list[Member]:
    """Those that are to go on from the earliest position and share what is computed at w_0, from here on."""
    lead = min(waiting, key=lambda member: member.position)
    others = [m for m in waiting if m is not lead and m.has_batches_of(lead) and can_share(lead.model, m.model)]
    group = [lead, *others]
    side_by_side(group)  # which lets them have one w_0
    return group


def _running(group: list[Member]) -> list[Member]:
    return [member for member in group if member.status == "running"]


def _row(member: Member, on_train: tuple, on_test: tuple, running: float | None) -> dict:
    """What every row of metrics has; ``on_train`` and ``on_test`` are loss and accuracy there."""
    return {
        "epoch": member.state.epoch,
        "alpha": member.model.alpha,
        "learning_rate": member.settings.learning_rate(member.state.epoch),
        "train_accuracy_running": running,
        **dict(zip(("train_loss", "train_accuracy"), on_train, strict=True)),
        **dict(zip(("test_loss", "test_accuracy"), on_test, strict=True)),
        "epochs": member.state.epoch,
        "seconds": 0.0,
    }


def _diverge(member: Member) -> None:
    """Leave the member as it is, unless its loss is not finite for another reason, which is raised."""
    check_lost(member.device)
    member.status = "diverged"
    separate_buffers(member.model)


def _refuse(member: Member, row: dict) -> None:
    """Raise the cause of a loss that is not finite before the first step."""
    check_lost(member.device)
    raise ValueError(
        f"the loss is not finite before the first step (training set {row['train_loss']}, test set "
        f"{row['test_loss']}): look for nan in the loss, or for targets that are too large for it"
    )


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
        member.status = "interrupted" if member.is_running(epochs) else "finished"
    summary = {"alpha": "inf" if alpha == math.inf else alpha, "status": member.status}
    numbers = [name for name, value in row.items() if not isinstance(value, dict)]
    summary |= {name: row.get(name) for name in summary_names(numbers)}
    summary |= {"epochs": state.epoch, "seconds": state.seconds}
    summary["verdict"] = member.status if member.status in ("diverged", "failed") else verdict(summary)
    if member.error is not None:
        summary |= failure(member.error)
    if member.has_settled:
        summary["has_settled"] = True
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
