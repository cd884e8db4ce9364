"""The training loop, for one trainer or for several that share their pass at w_0."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..shared_start import SharedStart, can_share, separate
from .checks import check_counts
from .interrupt import StopRequest
from .precision import matmul_precision
from .randomness import restore_random

if TYPE_CHECKING:
    from .trainer import Trainer

READ_EVERY = 200  # steps between readings of the accumulated loss, each of which waits for the device


def fit_together(trainers: Sequence["Trainer"], epochs: int) -> list[dict]:
    """Train several models at once, each to the result of its own ``fit(epochs)``, and return their summaries.

    Trainers of one module at several alphas that were given the same :class:`DeviceData` to train on share the pass at
    w_0 (see :class:`SharedStart`); those whose w_0, batches or position differ take turns, epoch by epoch.
    """
    check_counts(epochs=epochs)
    if not trainers:
        return []
    lead, stop = trainers[0], StopRequest()
    devices = [lead.device] if lead.device.type == "cuda" else []
    with stop, torch.random.fork_rng(devices), matmul_precision(lead.precision):
        for trainer in trainers:
            trainer.begin(stop, epochs)
        with _progress(trainers, epochs) as bar, logging_redirect_tqdm():
            while stop.signal is None and (waiting := [t for t in trainers if t.is_running(epochs)]):
                _epoch(_in_step(waiting), epochs, bar)
        for trainer in trainers:
            separate(trainer.model)
        return [trainer.finish(epochs) for trainer in trainers]


def _in_step(waiting: list) -> list:
    """Those that are to go on from the earliest position, and may share what is computed at w_0."""
    lead = min(waiting, key=lambda trainer: (trainer.epoch, trainer.step))
    return [lead] + [t for t in waiting if t is not lead and _same_batches(lead, t) and can_share(lead.model, t.model)]


def _same_batches(left, right) -> bool:
    return all(
        getattr(left, name) == getattr(right, name)
        for name in ("train", "epoch", "step", "seed", "batch_size", "precision")
    )


def _epoch(group: list, epochs: int, bar) -> None:
    """One epoch, or what is left of it, of trainers in step; those that diverge drop out."""
    lead, outputs_of = group[0], _outputs_of(group)
    restore_random(lead.random, lead.seed, lead.device)
    bar.set_description(_describe(group))
    for trainer in group:
        trainer.begin_epoch()
    for x, y in lead.train.epoch(lead.batch_size, lead.seed, lead.epoch, start=lead.step):
        outputs = outputs_of(x)
        for trainer in group:
            with trainer.autocast():
                output = next(outputs)
            trainer.learn(output, y)
            bar.update()
        if group[0].step % READ_EVERY == 0:
            finite = [trainer for trainer in group if trainer.is_finite()]
            for trainer in group:
                if trainer not in finite:
                    separate(trainer.model)
            if not finite:
                return
            group, outputs_of = finite, _outputs_of(finite)
        if group[0].stop.signal is not None:
            break
    for trainer in group:
        trainer.end_epoch(epochs)
    bar.set_description(_describe(group))


def _describe(group: list) -> str:
    return group[0].describe() if len(group) == 1 else f"{len(group)} alphas, epoch {group[0].epoch}"


def _outputs_of(group: list):
    """x -> iterator over the models' outputs."""
    models = [trainer.model for trainer in group]
    return SharedStart(models) if len(models) > 1 else lambda x: map(models[0], [x])


def _progress(trainers, epochs: int) -> tqdm:
    steps = [-(-len(trainer.train) // trainer.batch_size) for trainer in trainers]
    return tqdm(
        total=sum(epochs * n for n in steps),
        initial=sum(t.epoch * n + t.step for t, n in zip(trainers, steps, strict=True)),
        unit="step",
        dynamic_ncols=True,
        mininterval=0.2 if sys.stderr.isatty() else 30,
    )
