"""One step of SGD, of one model or of several that share their pass at w_0, each process on its part of the batch."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..centered import CenteredModel
from .evaluation import side_by_side
from .member import Member
from .objective import converting, correct


def step_of(group: Sequence[Member]) -> Callable[[Tensor, Tensor], None]:
    """A function of a batch (x, y), or of this process's part of one, that takes a step of each member."""
    if len(group) == 1 and group[0].is_in_one_graph and isinstance(model := group[0].model, CenteredModel):
        return partial(_in_one_graph, group[0], model)
    outputs_of = side_by_side(group)
    return lambda x, y: _together(group, outputs_of(x) if len(x) else [None] * len(group), y)


def _together(group: Sequence[Member], outputs: Sequence[Callable[[], Tensor] | None], y: Tensor) -> None:
    """What they share at w_0 is freed with ``outputs``, before anything else is done."""
    for member, output in zip(group, outputs, strict=True):
        with member.guarded():
            _step(member, output, y)


def _in_one_graph(member: Member, model: CenteredModel, x: Tensor, y: Tensor) -> None:
    """See :meth:`lazytorch.CenteredModel.differentiate`."""
    with member.guarded():
        found = None
        if len(x):
            with member.autocast():
                found = model.differentiate(converting(member.objective, member.train.dtype), y, x)
        _descend(member, found, y)


def _step(member: Member, output: Callable[[], Tensor] | None, y: Tensor) -> None:
    """One step of SGD; there is no output of a part that is empty. Nothing here waits for the device."""
    member.state.optimizer.zero_grad()
    found = None
    if output is not None:
        outputs = output().to(member.train.dtype)
        loss = member.objective(outputs, y)
        loss.backward()
        found = loss.detach(), outputs.detach()
    _descend(member, found, y)


def _descend(member: Member, found: tuple[Tensor, Tensor] | None, y: Tensor) -> None:
    """A step along the gradient of the whole batch's loss: the sum of the parts', each with its share of the examples.

    ``found`` is the loss and the outputs of this process's part.
    """
    if found is None:
        totals = torch.zeros_like(member.state.totals)
    else:
        loss, outputs = found
        totals = torch.stack([loss * len(outputs), correct(outputs, y)])
    share = member.share_of_batch(len(y))
    member.state.totals += member.processes.add_up_gradients(member.model.parameters(), share, totals)
    member.state.optimizer.step()
    member.state.optimizer.zero_grad()  # those of one member are in memory at a time
    member.state.step += 1
