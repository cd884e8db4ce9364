"""The mathematics of lazy training: what theory predicts of a model and its kernel."""

from .catapult import CatapultToy, catapult_recursion
from .descent import descend
from .laziness import laziness
from .least_squares import LeastSquares, stochastic_descent
from .linear_dynamics import LinearDynamics, Trajectory

__all__ = [
    "CatapultToy",
    "LeastSquares",
    "LinearDynamics",
    "Trajectory",
    "catapult_recursion",
    "descend",
    "laziness",
    "stochastic_descent",
]
