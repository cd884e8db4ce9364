"""The parts of a training, done a few times each by the clock, on a member that nothing else will use."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from .evaluation import batch_of
from .isolation import enter_training
from .member import Member
from .placement import forked_generators
from .probes import Unsuitable, measured, name_of
from .rehearsal import evaluate_once, first, train_once

STEPS = 3


@dataclass(frozen=True)
class Timing:
    """Seconds of a ``step``, of an ``evaluation`` of ``evaluated`` examples, of all probes, and of a trace."""

    step: float
    evaluation: float
    evaluated: int
    probing: float
    tracing: float = 0.0


def time_parts(member: Member) -> Timing:
    """What ``member`` takes for each part, once traced. It is trained by that for some steps, so give a new one.

    Generators are as before afterwards. Cost: four steps, two evaluations of a batch, and every probe twice.
    """
    largest = max((data for data in (member.train, member.test, member.validation) if data is not None), key=len)
    parameters = sum(theta.numel() for theta in member.model.parameters())
    member = replace(member, test=first(largest, batch_of(parameters)))
    probes = {name_of(probe): probe for probe in member.probes}
    with forked_generators(member.device), member.settings.arithmetic():
        enter_training(member.model)
        _probe(probes, member)  # at w_0, as at epoch 0
        train_once([[member]])
        step = _seconds(lambda: train_once([[member]]), member, STEPS)
        evaluate_once([[member]], {})
        evaluation = _seconds(lambda: evaluate_once([[member]], probes), member)
        probing = _seconds(lambda: _probe(probes, member), member)
        return Timing(step, evaluation, len(member.test), probing, _tracing(member))


def _probe(probes: dict[str, Callable], member: Member) -> None:
    for probe in probes.values():
        with suppress(Unsuitable):
            measured(probe, member.model)


def _tracing(member: Member) -> float:
    traces, seconds = getattr(member.model, "tracing", (0, 0.0))
    return seconds / max(1, traces)


def _seconds(work: Callable[[], object], member: Member, times: int = 1) -> float:
    """The mean."""
    _wait(member.device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    _wait(member.device)
    return (time.perf_counter() - started) / times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
