"""lazytorch: the laboratory for lazy training in PyTorch.

Importing it loads torch alone; what a public name needs beside it is loaded when the name is first used (PEP 562).
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import data, kernels, models, theory
    from .activations import activation_stability
    from .centered import CenteredModel
    from .differences import Pair, UnsupportedOperator, UntraceableModule, rule
    from .experiments import load_run
    from .kernels import empirical_ntk, kernel_alignment, kernel_distance, kernel_drift
    from .linearized import LinearizedModel, linearize
    from .shared_start import SharedStart
    from .theory import laziness
    from .training import Trainer, fit_together

    __version__: str

#: Public name -> the submodule that has it; None where it is a submodule itself.
_HOMES = {
    "CenteredModel": "centered",
    "LinearizedModel": "linearized",
    "Pair": "differences",
    "SharedStart": "shared_start",
    "Trainer": "training",
    "UnsupportedOperator": "differences",
    "UntraceableModule": "differences",
    "activation_stability": "activations",
    "data": None,
    "empirical_ntk": "kernels",
    "fit_together": "training",
    "kernel_alignment": "kernels",
    "kernel_distance": "kernels",
    "kernel_drift": "kernels",
    "kernels": None,
    "laziness": "theory",
    "linearize": "linearized",
    "load_run": "experiments",
    "models": None,
    "rule": "differences",
    "theory": None,
}

__all__ = [
    "CenteredModel",
    "LinearizedModel",
    "Pair",
    "SharedStart",
    "Trainer",
    "UnsupportedOperator",
    "UntraceableModule",
    "activation_stability",
    "data",
    "empirical_ntk",
    "fit_together",
    "kernel_alignment",
    "kernel_distance",
    "kernel_drift",
    "kernels",
    "laziness",
    "linearize",
    "load_run",
    "models",
    "rule",
    "theory",
]


if not TYPE_CHECKING:  # as a checker that sees it believes every name

    def __getattr__(name: str):
        if name == "__version__":
            value = _version()
        elif name in _HOMES:
            home = importlib.import_module(f".{_HOMES[name] or name}", __name__)
            value = getattr(home, name) if _HOMES[name] else home
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _version() -> str:
    from importlib import metadata

    for distribution in ("lazytorch-lab", "lazytorch"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            pass
    return "0+unknown"
