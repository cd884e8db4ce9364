"""The mathematics of lazy training: what theory predicts of a model and its kernel."""

from .crossover import TrainingDrift, crossover
from .deep_scalar import deep_scalar_edge, deep_scalar_losses
from .laziness import laziness
from .linear_dynamics import LinearDynamics, Trajectory

__all__ = [
    "LinearDynamics",
    "TrainingDrift",
    "Trajectory",
    "crossover",
    "deep_scalar_edge",
    "deep_scalar_losses",
    "laziness",
]
