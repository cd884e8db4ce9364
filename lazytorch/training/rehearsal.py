"""The parts of a training, done once each on tensors without values."""

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from ..anchored import with_tensors
from ..centered import CenteredModel
from ..data import DeviceData
from ..functional import in_precision
from ..shared_start import lend_weights
from .counting import Cost, Counter, without_values
from .evaluation import batch_of, evaluate
from .isolation import enter_training
from .member import Member
from .objective import find_objective
from .optimizer import make_optimizer
from .precision import data_type
from .probes import Probe, Unsuitable, make_probes, measured
from .settings import Settings
from .state import State
from .step import step_of

Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Rehearsal:
    """What one group of members costs: ``step`` and ``evaluation`` of one batch by all of them, ``probes`` of one.

    ``evaluated``: examples in that evaluation; ``live``: bytes that stay from step to step; ``parameters`` of the
    network; ``not_counted``: probe -> why.
    """

    step: Cost
    evaluation: Cost
    evaluated: int
    live: int
    parameters: int
    probes: dict[str, Cost] = field(default_factory=dict)
    not_counted: dict[str, str] = field(default_factory=dict)


def rehearse(
    build: Build,
    sets: Mapping[str, DeviceData],
    settings: Settings,
    alphas: Sequence[float],
    difference: str = "divided",
    probes: Sequence[str] = (),
    probe_size: int = 16,
    measuring: bool = True,
) -> Rehearsal:
    """Train members of the network at ``alphas`` for two steps, evaluate one batch, and measure, all without values.

    Not ``measuring``, the probes watch the evaluation alone.
    """
    with without_values() as counter:
        net = _network(build, data_type(settings.precision))
        parameters = sum(p.numel() for p in net.parameters())
        members = _members(net, _heads(sets, settings.batch_size, parameters), settings, alphas, difference)
        lend_weights(members[0].model, net)
        groups = [members] if difference == "divided" else [[member] for member in members]
        train_once(groups)  # which traces, and makes gradients and momenta
        for_step = counter.cost(lambda: train_once(groups))
        live, found = counter.live, _make(probes, members[0].test.head(probe_size)[0])
        for_evaluation = counter.cost(lambda: evaluate_once(groups, found))
        costs, not_counted = _probe_costs(found if measuring else {}, members[0], counter)
        return Rehearsal(for_step, for_evaluation, len(members[0].test), live, parameters, costs, not_counted)


def rehearse_released(build: Build, sets: Mapping[str, DeviceData], settings: Settings) -> Rehearsal:
    """The paper's released protocol: f(w) - f(w_0) in float64, two passes, both of which are differentiated."""
    with without_values() as counter:
        moving, start = (_network(build, torch.float64) for _ in range(2))
        parameters = sum(p.numel() for p in moving.parameters())
        heads = _heads(sets, settings.batch_size, parameters)
        optimizer = torch.optim.SGD(moving.parameters(), lr=settings.lr, momentum=settings.momentum)
        objective = find_objective(settings.loss)

        def train() -> None:
            x, y = next(heads["train"].epoch(settings.batch_size, settings.seed, 0))
            loss = objective(moving(x.double()) - start(x.double()), y)
            moving.zero_grad()
            start.zero_grad()
            loss.backward()
            optimizer.step()

        @torch.no_grad()
        def test() -> None:
            x, y = heads["test"].head(batch_of(parameters))
            objective(moving(x.double()) - start(x.double()), y)

        train()
        for_step, live = counter.cost(train), counter.live
        return Rehearsal(for_step, counter.cost(test), len(heads["test"]), live, parameters)


def _network(build: Build, dtype: torch.dtype) -> nn.Module:
    def convert(tensor: Tensor) -> Tensor:
        tensor = tensor if isinstance(tensor, FakeTensor) else torch.empty_like(tensor, device="cpu")
        return in_precision(tensor, dtype)

    return with_tensors(build(), convert)


def _heads(sets: Mapping[str, DeviceData], batch_size: int, parameters: int) -> dict[str, DeviceData]:
    """A batch to train on, and one of the largest set to evaluate."""
    largest = max(sets.values(), key=len)
    return {"train": _head(sets["train"], batch_size), "test": _head(largest, batch_of(parameters))}


def _head(data: DeviceData, size: int) -> DeviceData:
    head = first(data, size)
    for name, value in vars(head).items():
        if isinstance(value, Tensor):
            setattr(head, name, torch.empty_like(value, device="cpu"))
    return head


def first(data: DeviceData, size: int) -> DeviceData:
    """The first ``size`` examples, served as all are."""
    head = copy.copy(data)
    head.inputs, head.labels = data.inputs[:size], data.labels[:size]
    return head


def _members(net, heads, settings: Settings, alphas: Sequence[float], difference: str) -> list[Member]:
    models = [CenteredModel(net, alpha, difference) for alpha in alphas]
    members = []
    for model in models:
        enter_training(model)
        state = State(model, make_optimizer(model, settings), torch.zeros(2, dtype=torch.float64))
        objective = find_objective(settings.loss)
        members.append(Member(state, heads["train"], heads["test"], None, settings, objective, (), {}))
    return members


def train_once(groups: list[list[Member]]) -> None:
    """A step on the first batch, of the members of each group side by side."""
    for group in groups:
        lead = group[0]
        x, y = next(lead.train.epoch(lead.settings.batch_size, lead.settings.seed, 0))
        step_of(group)(x, y)
    _raise_errors(groups)


def evaluate_once(groups: list[list[Member]], probes: dict[str, Callable]) -> None:
    """An evaluation on the test set, which the probes watch; raises the error that ends a member."""
    for group in groups:
        with ExitStack() as watches:
            for probe in probes.values():
                if isinstance(probe, Probe):
                    watches.enter_context(probe.watching(group[0].model))
            evaluate(group, "test")
    _raise_errors(groups)


def _raise_errors(groups: list[list[Member]]) -> None:
    for member in itertools.chain(*groups):
        if member.error is not None:
            raise member.error


def _make(names: Sequence[str], x: Tensor) -> dict[str, Callable]:
    return dict(zip(names, make_probes(names, x), strict=True))


def _probe_costs(probes: dict[str, Callable], member: Member, counter: Counter) -> tuple[dict, dict]:
    """What each costs, or why that is not known.

    Each is called twice: the kernel at w_0 is computed the first time alone, and the evaluation is seen then alone.
    """
    costs, reasons = {}, {}
    for name, probe in probes.items():
        try:
            once, again = (counter.cost(lambda probe=probe: measured(probe, member.model)) for _ in range(2))
            costs[name] = Cost(min(once.flops, again.flops), once.memory)
        except Unsuitable as reason:
            reasons[name] = str(reason)
        except Exception as error:  # what reads values in a way that none can stand in for
            reasons[name] = f"it needs values ({type(error).__name__})"
    return costs, reasons
