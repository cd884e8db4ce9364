"""Measurements of how lazy the training is, one file each."""

import importlib
import pkgutil
from collections.abc import Callable, Sequence

from torch import Tensor

from ...quantities import Quantity
from .activations import ActivationStability
from .displacement import Displacement
from .linearization import LinearizationError
from .ntk import KernelDrift
from .probe import Probe, Unsuitable, measured, name_of

#: What is measured unless something else is asked for.
STANDARD = ("displacement", "ntk", "activations", "linearization")


def make_probes(probes: Sequence[str | Callable], x: Tensor) -> tuple[Callable, ...]:
    """The probes of these names, made with the inputs ``x`` (n, ...); what is callable is taken as it is.

    Raises:
        ValueError: there is no probe of that name.
        TypeError: something is neither a name nor callable.
    """
    if isinstance(probes, str) or not isinstance(probes, Sequence):
        raise TypeError(f"probes is {probes!r}: give a list, as [displacement, ntk]")
    return tuple(_make(probe, x) for probe in probes)


def _make(probe: str | Callable, x: Tensor) -> Callable:
    if isinstance(probe, str):
        return find_probe(probe)(x)
    if isinstance(probe, type) and issubclass(probe, Probe):
        return probe(x)
    if not callable(probe):
        raise TypeError(f"a probe is a {type(probe).__name__}: give a name, a Probe, or a function of the model")
    return probe


def find_probe(name: str) -> type[Probe]:
    """The probe in the file of that name.

    Raises:
        ValueError: there is none.
    """
    known = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "probe"]
    if name not in known:
        raise ValueError(f"unknown probe {name!r}: choose from {', '.join(known)}, or give module.Name of your own")
    module = importlib.import_module(f".{name}", __name__)
    kinds = (kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, Probe))
    return next(kind for kind in kinds if kind.__module__ == module.__name__)


def declared_quantities(probes: Sequence[Callable]) -> dict[str, Quantity]:
    """The quantities that probes declare of their own, by name."""
    own = [q for probe in probes for q in getattr(probe, "quantities", ()) if isinstance(q, Quantity)]
    return {quantity.name: quantity for quantity in own}


__all__ = [
    "STANDARD",
    "ActivationStability",
    "Displacement",
    "KernelDrift",
    "LinearizationError",
    "Probe",
    "Unsuitable",
    "declared_quantities",
    "find_probe",
    "make_probes",
    "measured",
    "name_of",
]
