"""Training of centered models, and the measurements taken on the way."""

from .activations import activation_stability
from .fit import fit_together
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
    "fit_together",
    "standard_probes",
]
