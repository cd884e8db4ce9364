"""Tangent kernels and their drift."""

from .drift import kernel_distance, kernel_drift
from .tangent import empirical_ntk, plan_ntk

__all__ = ["empirical_ntk", "kernel_distance", "kernel_drift", "plan_ntk"]
