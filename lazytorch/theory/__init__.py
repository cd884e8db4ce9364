"""The mathematics of lazy training: what theory predicts of a model and its kernel."""

from .differentials import Differentials
from .hessian import HessianSpectra, hessian_operator, hessian_spectra
from .kappa import Kappa, kappa
from .laziness import laziness
from .linear_dynamics import LinearDynamics, Trajectory
from .two_layer_kernel import TwoLayerFlow, hidden_kernel, limit_kernel, two_layer_flow

__all__ = [
    "Differentials",
    "HessianSpectra",
    "Kappa",
    "LinearDynamics",
    "Trajectory",
    "TwoLayerFlow",
    "hessian_operator",
    "hessian_spectra",
    "hidden_kernel",
    "kappa",
    "laziness",
    "limit_kernel",
    "two_layer_flow",
]
