"""The mathematics of lazy training: what theory predicts of a model and its kernel."""

from .laziness import laziness
from .linear_dynamics import LinearDynamics, Trajectory
from .students import Students, population_loss

__all__ = ["LinearDynamics", "Students", "Trajectory", "laziness", "population_loss"]
