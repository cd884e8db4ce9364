"""The mathematics of lazy training: what theory predicts of a model and its kernel."""

from .certificate import Certificate, certify
from .flow import Flow, gradient_flow
from .grokking import MomentDescent, Moments, QuadraticNetwork
from .laziness import laziness
from .lazy_bounds import LazyBounds, lazy_bounds
from .linear_dynamics import LinearDynamics, Trajectory
from .linear_networks import BalancedLinearNetwork, balanced_weights
from .two_layer_smooth import TwoLayerSmooth

__all__ = [
    "BalancedLinearNetwork",
    "Certificate",
    "Flow",
    "LazyBounds",
    "LinearDynamics",
    "MomentDescent",
    "Moments",
    "QuadraticNetwork",
    "Trajectory",
    "TwoLayerSmooth",
    "balanced_weights",
    "certify",
    "gradient_flow",
    "laziness",
    "lazy_bounds",
]
