"""lazytorch: the laboratory for lazy training in PyTorch."""

from .centered import CenteredModel
from .differences import Pair, UnsupportedOperator, UntraceableModule, rule
from .linearized import LinearizedModel, linearize

__all__ = [
    "CenteredModel",
    "LinearizedModel",
    "Pair",
    "UnsupportedOperator",
    "UntraceableModule",
    "linearize",
    "rule",
]
