"""Training of centered models, and the measurements taken on the way."""

from .activations import activation_stability
from .probes import ActivationStability, Displacement, KernelDrift, LinearizationError, Probe, standard_probes
from .trainer import Trainer

__all__ = [
    "ActivationStability",
    "Displacement",
    "KernelDrift",
    "LinearizationError",
    "Probe",
    "Trainer",
    "activation_stability",
    "standard_probes",
]
