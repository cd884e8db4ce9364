"""The mathematics of lazy training: what theory predicts of a model and its kernel."""

from .laziness import laziness
from .linear_dynamics import LinearDynamics, Trajectory

__all__ = ["LinearDynamics", "Trajectory", "laziness"]
