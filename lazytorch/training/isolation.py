"""Looking at a model without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..anchored import Anchored
from .placement import device_of, forked_generators


@contextmanager
def undisturbed(model: Anchored) -> Iterator[None]:
    """Evaluation mode, no gradients, forked generators; every part's mode and every buffer as before afterwards."""
    modes = [(part, part.training) for part in (*model.modules(), *model.structure.modules())]
    buffers = [*model.initial_buffers().values(), *model.buffer_differences().values()]
    before = [buffer.clone() for buffer in buffers]
    model.eval()
    with torch.no_grad(), forked_generators(device_of(model)):
        try:
            yield
        finally:
            for part, training in modes:
                part.training = training
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


def unmoved(model: Anchored) -> bool:
    """Whether theta = 0, and the buffers are those of w_0. Waits for the device."""
    return not any(tensor.any() for tensor in (*model.theta.values(), *model.buffer_differences().values()))
