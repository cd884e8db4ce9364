"""The mathematics of lazy training: what theory predicts of a model and its kernel."""

from .grokking import MomentDescent, Moments, QuadraticNetwork
from .laziness import laziness
from .linear_dynamics import LinearDynamics, Trajectory
from .linear_networks import BalancedLinearNetwork, balanced_weights

__all__ = [
    "BalancedLinearNetwork",
    "LinearDynamics",
    "MomentDescent",
    "Moments",
    "QuadraticNetwork",
    "Trajectory",
    "balanced_weights",
    "laziness",
]
