"""Loss and accuracy over a whole set, for several models at once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from ..data import DeviceData
from ..shared_start import SharedStart
from .isolation import undisturbed, unmoved
from .member import Member
from .objective import correct

BATCH = 500


@torch.no_grad()
def evaluate(members: Sequence[Member], part: str) -> list[tuple[float, float | None]]:
    """(loss, accuracy) of each model over all of ``part``, "train" or "test": unaugmented, in evaluation mode.

    Accuracy is None for floating targets. Sums accumulate on the device and are read once. Models of one w_0 share the
    pass there, as in training; where theta = 0 the outputs are known to be 0.
    """
    data: DeviceData = getattr(members[0], part)
    if any(getattr(member, part) is not data for member in members):
        return [evaluate([member], part)[0] for member in members]
    totals = torch.zeros(len(members), 2, dtype=torch.float64, device=data.inputs.device)
    with ExitStack() as stack:
        for member in members:
            stack.enter_context(undisturbed(member.model))
        moved = [member for member in members if not _outputs_are_zero(member)]
        outputs_of = side_by_side(moved)
        for x, y in data.ordered(BATCH):
            outputs = outputs_of(x)
            for total, member in zip(totals, members, strict=True):
                known = None if member in moved else x.new_zeros((len(x), *member.output_shape), dtype=data.dtype)
                output = next(outputs).to(data.dtype) if known is None else known
                total += torch.stack([member.objective(output, y).double() * len(x), correct(output, y)])
    return [(loss, share_of(right, data)) for loss, right in totals.div(len(data)).tolist()]


def side_by_side(members: Sequence[Member]) -> Callable[[Tensor], Iterator[Tensor]]:
    """x -> iterator over the models' outputs, each in its own arithmetic; several share the pass at w_0."""
    models: list[Any] = [member.model for member in members]
    outputs_of = SharedStart(models) if len(models) > 1 else lambda x: map(lambda model: model(x), models)

    def call(x: Tensor) -> Iterator[Tensor]:
        outputs = outputs_of(x)
        for member in members:
            with member.autocast():
                output = next(outputs)
            yield output

    return call


def share_of(right: float, data: DeviceData) -> float | None:
    """An accuracy, None for floating targets."""
    return None if data.labels.is_floating_point() else right


def _outputs_are_zero(member: Member) -> bool:
    return getattr(member.model, "centered", True) and unmoved(member.model)
