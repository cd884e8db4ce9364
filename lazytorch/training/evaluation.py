"""Loss and accuracy over a whole set."""

import torch

from ..data import DeviceData
from .checks import evaluating
from .objective import Objective, correct


@torch.no_grad()
def evaluate(
    model, data: DeviceData, objective: Objective, autocast, batch_size: int = 500
) -> tuple[float, float | None]:
    """(loss, accuracy) over all of ``data``, unaugmented, in evaluation mode; accuracy None for floating targets.

    Sums accumulate on the device and are read once. ``autocast``: a function that returns the context to evaluate in.
    """
    totals = torch.zeros(2, dtype=torch.float64, device=data.inputs.device)
    with evaluating(model):
        for x, y in data.ordered(batch_size):
            with autocast():
                outputs = model(x)
            outputs = outputs.to(data.dtype)
            totals += torch.stack([objective(outputs, y) * len(x), correct(outputs, y)])
    loss, accuracy = (totals / len(data)).tolist()
    return loss, None if data.labels.is_floating_point() else accuracy
