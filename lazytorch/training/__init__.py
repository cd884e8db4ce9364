"""Training of centered models, and the measurements taken on the way."""

from .probes import (
    ActivationStability,
    Displacement,
    KernelDrift,
    LinearizationError,
    Probe,
    Unsuitable,
)
from .trainer import Trainer, fit_together

__all__ = [
    "ActivationStability",
    "Displacement",
    "KernelDrift",
    "LinearizationError",
    "Probe",
    "Trainer",
    "Unsuitable",
    "fit_together",
]
