"""The arithmetic a run is done in."""

from contextlib import AbstractContextManager, nullcontext

import torch

from ..products import tf32
from .placement import has_tf32

PRECISIONS = ("float32", "tf32", "bf16", "float64")


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ValueError if ``precision`` is unknown or the device does not have it."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    if precision == "tf32" and not has_tf32(device):
        raise ValueError(f"precision=tf32 exists on CUDA devices only, not on {device.type}: use precision=float32")


def data_type(precision: str) -> torch.dtype:
    """The type of weights and inputs: float64 for "float64", else float32."""
    return torch.float64 if precision == "float64" else torch.float32


def matmul_precision(precision: str) -> AbstractContextManager[None]:
    """TF32 on for "tf32" and off otherwise, as it was before afterwards."""
    return tf32(precision == "tf32")


def autocast(precision: str, device: torch.device):
    """Autocast to bfloat16 for "bf16", nothing otherwise."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
