"""What a probe is, and how it is kept from changing what it measures."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from ...anchored import Anchored
from ...quantities import Quantity
from ..checks import evaluating
from ..placement import forked_generators


class Unsuitable(Exception):
    """A probe does not fit the module; the message says why, and training goes on without the probe."""


class Probe:
    """A measurement of the model at w: called with it, returns {quantity's name: number, or layer -> number, or None}.

    Subclasses say in ``quantities`` what they measure: names of declared ones (:mod:`lazytorch.quantities`), or
    :class:`Quantity` of their own. One that is named by the configuration is made with ``x``, the first
    ``probe_size`` test inputs. It is called in evaluation mode, without gradients (``torch.enable_grad()`` has them),
    under forked generators; modes and buffers are put back afterwards. Raise :class:`Unsuitable` where the module has
    nothing of the kind.
    """

    quantities: tuple[str | Quantity, ...] = ()

    def __init__(self, x: Tensor):
        self.x = x

    def __call__(self, model: Anchored) -> dict:
        """The measurements at w."""
        raise NotImplementedError

    def watching(self, model: Anchored) -> AbstractContextManager:
        """Open while ``model`` is evaluated on the whole test set, for what can be seen there."""
        return nullcontext()


@contextmanager
def undisturbed(model: Anchored, device: torch.device) -> Iterator[None]:
    """Evaluation mode, no gradients, forked generators; every part's mode and every buffer as before afterwards."""
    buffers = [*model.initial_buffers().values(), *model.buffer_differences().values()]
    before = [buffer.clone() for buffer in buffers]
    with evaluating(model), torch.no_grad(), forked_generators(device):
        try:
            yield
        finally:
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


def measured(probe: Callable, model: Anchored, device: torch.device) -> dict:
    """What ``probe`` measures, as plain numbers.

    Raises:
        Unsuitable: it does not fit the module.
        TypeError: it returns something else than a mapping of names to numbers.
    """
    with undisturbed(model, device):
        values = probe(model)
    if not isinstance(values, dict):
        raise TypeError(f"the probe {name_of(probe)} returned a {type(values).__name__}: return {{name: number}}")
    return {str(name): _plain(value, probe, name) for name, value in values.items()}


def name_of(probe: Callable) -> str:
    """How a probe is called in messages."""
    return getattr(probe, "__name__", type(probe).__name__)


def _plain(value, probe, name):
    if isinstance(value, dict):
        return {str(key): _plain(item, probe, f"{name}[{key!r}]") for key, item in value.items()}
    if hasattr(value, "item") and math.prod(getattr(value, "shape", ())) == 1:  # tensors and numpy's numbers
        value = value.item()
    if value is None or isinstance(value, (bool, int, float)):
        return value
    kind = type(value).__name__
    raise TypeError(f"the probe {name_of(probe)} gives {name} as a {kind}: return numbers, None, or {{layer: number}}")
