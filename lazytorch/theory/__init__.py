"""The mathematics of lazy training: what theory predicts of a model and its kernel."""

from .catapult import CatapultToy, catapult_recursion
from .certificate import Certificate, certify
from .crossover import TrainingDrift, crossover
from .deep_scalar import deep_scalar_edge, deep_scalar_losses
from .descent import descend
from .differentials import Differentials
from .flow import Flow, gradient_flow
from .grokking import MomentDescent, Moments, QuadraticNetwork
from .hessian import HessianSpectra, hessian_operator, hessian_spectra
from .kappa import Kappa, kappa
from .laziness import laziness
from .lazy_bounds import LazyBounds, lazy_bounds
from .least_squares import LeastSquares, stochastic_descent
from .linear_dynamics import LinearDynamics, Trajectory
from .linear_networks import BalancedLinearNetwork, balanced_weights
from .students import Students, population_loss
from .two_layer_kernel import TwoLayerFlow, hidden_kernel, limit_kernel, two_layer_flow
from .two_layer_smooth import TwoLayerSmooth

__all__ = [
    "BalancedLinearNetwork",
    "CatapultToy",
    "Certificate",
    "Differentials",
    "Flow",
    "HessianSpectra",
    "Kappa",
    "LazyBounds",
    "LeastSquares",
    "LinearDynamics",
    "MomentDescent",
    "Moments",
    "QuadraticNetwork",
    "Students",
    "TrainingDrift",
    "Trajectory",
    "TwoLayerFlow",
    "TwoLayerSmooth",
    "balanced_weights",
    "catapult_recursion",
    "certify",
    "crossover",
    "deep_scalar_edge",
    "deep_scalar_losses",
    "descend",
    "gradient_flow",
    "hessian_operator",
    "hessian_spectra",
    "hidden_kernel",
    "kappa",
    "laziness",
    "lazy_bounds",
    "limit_kernel",
    "population_loss",
    "stochastic_descent",
    "two_layer_flow",
]
