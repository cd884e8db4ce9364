"""What a probe is, and what becomes of its measurements."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ...anchored import Anchored
from ...quantities import Quantity
from ..isolation import undisturbed


class Unsuitable(Exception):
    """A probe does not fit the module; the message says why, and training goes on without the probe."""


class Probe:
    """A measurement of the model at w: called with it, returns {quantity's name: number, or layer -> number, or None}.

    Subclasses say in ``quantities`` what they measure: names of declared ones (:mod:`lazytorch.quantities`), or
    :class:`Quantity` of their own. One that is named by the configuration is made with ``x``, the first
    ``probe_size`` test inputs. It is called in evaluation mode, without gradients (``torch.enable_grad()`` has them),
    under forked generators; modes and buffers are put back afterwards. Raise :class:`Unsuitable` where the module has
    nothing of the kind.

    An instance that is named by the configuration is shared by the members of a fused sweep: what it remembers is to be
    kept by model.
    """

    name = ""  # in configurations; the class's own if empty
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
def unsuitable(what: str) -> Iterator[None]:
    """An error inside, other than of memory, says that the module is :class:`Unsuitable`: ``what``, and why."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (ValueError, TypeError, RuntimeError) as error:
        raise Unsuitable(f"{what}: {error}") from error


def name_of(probe: Callable) -> str:
    """How a probe is called in configurations and messages."""
    return getattr(probe, "name", "") or getattr(probe, "__name__", type(probe).__name__)


def measured(probe: Callable, model: Anchored) -> dict:
    """What ``probe`` measures, as plain numbers.

    Raises:
        Unsuitable: it does not fit the module.
        TypeError: it returns something else than a mapping of names to numbers, or to layer -> number.
    """
    with undisturbed(model):
        values = probe(model)
    if not isinstance(values, dict):
        raise TypeError(f"the probe {name_of(probe)} returned a {type(values).__name__}: return {{name: number}}")
    return {_key(name, probe): _plain_or_by_layer(value, probe, name) for name, value in values.items()}


def _key(name: Any, probe: Callable) -> str:
    if not isinstance(name, str):
        raise TypeError(f"the probe {name_of(probe)} gives a value the name {name!r}: make it a string")
    return name


def _plain_or_by_layer(value: Any, probe: Callable, name: str) -> Any:
    if isinstance(value, dict):
        return {_key(layer, probe): _plain(item, probe, f"{name}[{layer!r}]") for layer, item in value.items()}
    return _plain(value, probe, name)


def _plain(value: Any, probe: Callable, name: str) -> bool | int | float | None:
    if hasattr(value, "item") and math.prod(getattr(value, "shape", ())) == 1:  # tensors and numpy's numbers
        value = value.item()
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    kind = type(value).__name__
    raise TypeError(f"the probe {name_of(probe)} gives {name} as a {kind}: return numbers, None, or {{layer: number}}")
