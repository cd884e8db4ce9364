"""lazytorch: the laboratory for lazy training in PyTorch."""

from . import models, theory
from .centered import CenteredModel
from .differences import Pair, UnsupportedOperator, UntraceableModule, rule
from .experiments import load_run
from .kernels import empirical_ntk, kernel_alignment, kernel_distance, kernel_drift
from .linearized import LinearizedModel, linearize
from .shared_start import SharedStart
from .activations import activation_stability
from .training import Trainer, fit_together

__all__ = [
    "CenteredModel",
    "LinearizedModel",
    "Pair",
    "SharedStart",
    "Trainer",
    "UnsupportedOperator",
    "UntraceableModule",
    "activation_stability",
    "empirical_ntk",
    "kernel_alignment",
    "kernel_distance",
    "kernel_drift",
    "linearize",
    "load_run",
    "models",
    "rule",
    "theory",
]
