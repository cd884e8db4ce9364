"""Tangent kernels: empirical and analytic, their operators, spectra, alignment and drift."""

from .alignment import kernel_alignment
from .analytic import mlp_kernel
from .drift import kernel_distance, kernel_drift
from .operator import Jacobian, extreme_singular_values, kernel_operator, top_eigenpairs
from .spectrum import Spectrum, kernel_spectrum
from .tangent import empirical_ntk, plan_ntk

__all__ = [
    "Jacobian",
    "Spectrum",
    "empirical_ntk",
    "extreme_singular_values",
    "kernel_alignment",
    "kernel_distance",
    "kernel_drift",
    "kernel_operator",
    "kernel_spectrum",
    "mlp_kernel",
    "plan_ntk",
    "top_eigenpairs",
]
