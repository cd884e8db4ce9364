"""The mathematics of lazy training: what theory predicts of a model and its kernel."""

from .certificate import Certificate, certify
from .flow import Flow, gradient_flow
from .laziness import laziness
from .lazy_bounds import LazyBounds, lazy_bounds
from .linear_dynamics import LinearDynamics, Trajectory
from .two_layer_smooth import TwoLayerSmooth

__all__ = [
    "Certificate",
    "Flow",
    "LazyBounds",
    "LinearDynamics",
    "Trajectory",
    "TwoLayerSmooth",
    "certify",
    "gradient_flow",
    "laziness",
    "lazy_bounds",
]
