"""What a training will cost, from its configuration: in full instead of it, or in one line at its start."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..durations import spell_seconds
from ..progress import is_silent
from ..training.placement import device_name, find_device, free_memory
from ..training.plan import Plan, make_plan
from ..training.plan_text import line, memory, text
from ..training.timing import time_parts
from .perform import directory_of
from .problem import ImageExperiment, Images, build_network, describe
from .run import Run

if TYPE_CHECKING:
    from .training import Training

log = logging.getLogger(__name__)
LONGEST = 60  # seconds that timing may take


def plan_in_full(experiments: Sequence[Training]) -> str:
    """The plan of experiments of one company, in words, with the time that it takes here by a few timed steps.

    The network is built without values where its constructor allows that; it is built with them to be timed, where
    the memory is there. Nothing is written, and no generator moves.

    Raises:
        ValueError, TypeError, FileNotFoundError, RuntimeError: what a training of them would raise before it starts;
            or that the network does nothing without values.
    """
    lead, device = experiments[0], find_device(experiments[0].device)
    lead.settings().check(device)
    images = ImageExperiment.problem(lead)
    try:
        plan = _plan(experiments, images, lambda: build_network(lead.model, describe(images.train), lead.seed))
    except Exception as error:
        log.info("the network is built with its weights to be planned, as it needs them: %s", _reason(error))
        problem = lead.problem()
        lead.prepare(Run(directory_of(lead), problem))  # raises what is wrong
        try:
            plan = _plan(experiments, images, lambda: problem.net)
        except Exception as error:
            raise RuntimeError(f"no plan, as the network needs values: {_reason(error)}; train without plan") from error
    name = ", ".join(f"{experiment.alpha:g}" for experiment in experiments)
    return f"Plan of {directory_of(lead).path.parent.name}, alpha = {name}\n{text(plan, _timed(plan, lead, device))}"


def log_plan(members: Sequence[tuple[Training, Run]]) -> None:
    """The plan of what is left of a training, in one line; or why there is none."""
    problem = members[0][1].problem
    epochs = members[0][0].epochs - min(run.prepared.epoch for _, run in members)
    if epochs < 1 or is_silent():
        return
    try:
        plan = _plan([experiment for experiment, _ in members], problem, lambda: problem.net, epochs)
    except Exception as error:
        log.info("no plan, as the network needs values: %s", _reason(error))
    else:
        log.info("%s", line(plan))


def _plan(experiments: Sequence[Training], images: Images, build, epochs: int | None = None) -> Plan:
    """In full where ``epochs`` is None, and then of all; else of what is trained together."""
    lead, in_full = experiments[0], epochs is None
    alphas = [experiment.alpha for experiment in experiments]
    together = lead.fused or not in_full
    names = [probe for probe in lead.probes if isinstance(probe, str) and "." not in probe]
    plan = make_plan(
        build,
        images.served(lead.precision),
        lead.settings(),
        alphas if together else alphas[:1],
        epochs or lead.epochs,
        runs=1 if together else len(alphas),
        difference=lead.difference,
        probes=names,
        probe_size=lead.probe_size,
        in_full=in_full,
    )
    own = {str(probe): "it is your own" for probe in lead.probes if probe not in names}
    return replace(plan, not_counted={**plan.not_counted, **own})


def _timed(plan: Plan, lead: Training, device: torch.device) -> str:
    """What the clock says of a member that is thrown away."""
    where, free = device_name(device), free_memory(device)
    if free is not None and plan.memory > free:
        return (
            f"Not timed on {where}: it has {memory(free)} free, which is too little; fewer members, or a narrower model"
        )
    if device.type == "cpu" and (seconds := plan.alone.seconds_to_time(plan.probes.values())) > LONGEST:
        return f"Not timed on {where}: a few steps and an evaluation would take about {spell_seconds(seconds)} there"
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        problem = lead.problem()
        timing = time_parts(lead.prepare(Run(directory_of(lead), problem)).member)
    return (
        f"About {spell_seconds(plan.timed(timing))} on {where}, where a member's step took {timing.step:.3g} s just now"
    )


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
