"""Looking at a model without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..anchored import Anchored
from ..functional import read
from .placement import device_of, forked_generators


@contextmanager
def undisturbed(model: Anchored) -> Iterator[None]:
    """Evaluation mode, no gradients, forked generators; every part's mode and every buffer as before afterwards."""
    buffers = [*model.initial_buffers().values(), *model.buffer_differences().values()]
    before = [buffer.clone() for buffer in buffers]
    with _same_modes(model), torch.no_grad(), forked_generators(device_of(model)):
        model.eval()
        try:
            yield
        finally:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


@contextmanager
def as_trained(model: Anchored) -> Iterator[None]:
    """In the modes that it is trained in, and as before afterwards; see :func:`enter_training`."""
    with _same_modes(model):
        enter_training(model)
        yield


def enter_training(model: Anchored) -> None:
    """Training mode, where the model is not in it as a whole; if it is, parts that were set to evaluation mode stay."""
    if not model.structure.training:
        model.train()


def unmoved(model: Anchored) -> bool:
    """Whether theta = 0, and the buffers are those of w_0. Waits for the device, once."""
    return not any(read(tensor.any() for tensor in (*model.theta.values(), *model.buffer_differences().values())))


@contextmanager
def _same_modes(model: Anchored) -> Iterator[None]:
    modes = [(part, part.training) for part in (*model.modules(), *model.structure.modules())]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
