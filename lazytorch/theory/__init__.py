"""The mathematics of lazy training: what theory predicts of a model and its kernel."""

from .linear_dynamics import LinearDynamics, Trajectory

__all__ = ["LinearDynamics", "Trajectory"]
