"""Loss and accuracy over a whole set, for several models at once."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..data import DeviceData
from ..shared_start import SharedStart
from .isolation import undisturbed, unmoved
from .member import Member
from .objective import correct
from .placement import let_go

BATCH = 500
WIDE, BATCH_OF_WIDE = 10**8, 100  # parameters from which activations of the whole batch take more than a training step


def batch_of(parameters: int) -> int:
    """Examples that a network of so many parameters is evaluated on at a time."""
    return BATCH if parameters < WIDE else BATCH_OF_WIDE


@torch.no_grad()
def evaluate(members: Sequence[Member], part: str) -> dict[Member, tuple[float, float | None]]:
    """(loss, accuracy) of each model over all of ``part``, train, test or validation: unaugmented, in evaluation mode.

    Accuracy is None for floating targets. Members that fail, here or before, are left out. Sums accumulate on the
    device and are read once; of several processes each takes a part of the examples. Models of one w_0 share the pass
    there, as in training; where theta = 0 the outputs are known to be 0.
    """
    if not members:
        return {}
    data: DeviceData = getattr(members[0], part)
    if any(getattr(member, part) is not data for member in members):
        return {alone: result for member in members for alone, result in evaluate([member], part).items()}
    processes = members[0].processes
    totals = torch.zeros(len(members), 2, dtype=torch.float64, device=data.inputs.device)
    with ExitStack() as stack:
        for member in members:
            stack.enter_context(undisturbed(member.model))
        moved = [member for member in members if member.has_not_failed and not _outputs_are_zero(member)]
        outputs_of = side_by_side(moved)
        batch = batch_of(sum(theta.numel() for theta in members[0].model.parameters()))
        for x, y in data.ordered(batch, processes.part):
            outputs = dict(zip(moved, outputs_of(x), strict=True))
            zeros = x.new_zeros((len(x), *members[0].output_shape), dtype=data.dtype)
            for total, member in zip(totals, members, strict=True):
                with member.guarded():
                    if member.has_not_failed:
                        output = outputs[member]().to(data.dtype) if member in outputs else zeros
                        total += torch.stack([member.objective(output, y).double() * len(x), correct(output, y)])
            if not all(member.has_not_failed for member in moved):
                for member in moved if len(moved) > 1 else ():
                    let_go(member.error)
                moved = [member for member in moved if member.has_not_failed]
                outputs_of = side_by_side(moved)
    results = zip(members, processes.add_up(totals).div(len(data)).tolist(), strict=True)
    return {member: (loss, share_of(right, data)) for member, (loss, right) in results if member.has_not_failed}


def side_by_side(members: Sequence[Member]) -> Callable[[Tensor], list[Callable[[], Tensor]]]:
    """x -> the models' outputs, each computed when called, in its own arithmetic; several share the pass at w_0."""
    models: list[Any] = [member.model for member in members]
    deferred = SharedStart(models).deferred if len(models) > 1 else lambda x: [partial(model, x) for model in models]

    def outputs(x: Tensor) -> list[Callable[[], Tensor]]:
        return [partial(_output, member, output) for member, output in zip(members, deferred(x), strict=True)]

    return outputs


def _output(member: Member, output: Callable[[], Tensor]) -> Tensor:
    with member.autocast():
        return output()


def share_of(right: float, data: DeviceData) -> float | None:
    """An accuracy, None for floating targets."""
    return None if data.labels.is_floating_point() else right


def _outputs_are_zero(member: Member) -> bool:
    return getattr(member.model, "centered", True) and unmoved(member.model)
