"""Loss and accuracy over a whole set, for several models at once."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import DeviceData
from ..shared_start import SharedStart
from .checks import unmoved
from .objective import correct
from .probes import undisturbed

if TYPE_CHECKING:
    from .loop import Member

BATCH = 500


@torch.no_grad()
def evaluate(members: Sequence["Member"], part: str) -> list[tuple[float, float | None]]:
    """(loss, accuracy) of each model over all of ``part``, "train" or "test": unaugmented, in evaluation mode.

    Accuracy is None for floating targets. Sums accumulate on the device and are read once. Models of one w_0 share the
    pass there, as in training; where theta = 0 the outputs are known to be 0.
    """
    sets = [getattr(member, part) for member in members]
    if any(data is not sets[0] for data in sets):
        return [evaluate([member], part)[0] for member in members]
    data, device = sets[0], sets[0].inputs.device
    totals = torch.zeros(len(members), 2, dtype=torch.float64, device=device)
    with ExitStack() as stack:
        for member in members:
            stack.enter_context(undisturbed(member.model, device))
        moved = [member for member in members if not _outputs_are_zero(member)]
        outputs_of = side_by_side([member.model for member in moved])
        for x, y in data.ordered(BATCH):
            outputs = outputs_of(x)
            for total, member in zip(totals, members, strict=True):
                output = (
                    _next(outputs, member, data)
                    if member in moved
                    else data.labels.new_zeros((len(x), *member.output_shape), dtype=data.dtype)
                )
                total += torch.stack([member.objective(output, y) * len(x), correct(output, y)])
    return [(loss, _accuracy(accuracy, data)) for loss, accuracy in (totals / len(data)).tolist()]


def side_by_side(models: Sequence):
    """x -> iterator over the models' outputs, which share the pass at w_0 if they are several."""
    if len(models) > 1:
        return SharedStart(models)
    return lambda x: map(lambda model: model(x), models)


def _next(outputs: Iterator[Tensor], member: "Member", data: DeviceData) -> Tensor:
    with member.autocast():
        return next(outputs).to(data.dtype)


def _outputs_are_zero(member: "Member") -> bool:
    return getattr(member.model, "centered", True) and unmoved(member.model)


def _accuracy(share: float, data: DeviceData) -> float | None:
    return None if data.labels.is_floating_point() else share
