"""How far a kernel has moved from another, on the same inputs."""

from torch import Tensor


def kernel_drift(k0: Tensor, kt: Tensor) -> float:
    """|kt - k0|_F / |k0|_F, in float64. Raises ValueError if their shapes differ."""
    k0, kt = _both(k0, kt)
    return ((kt - k0).norm() / k0.norm()).item()


def kernel_distance(k0: Tensor, kt: Tensor) -> float:
    """1 - <k0, kt> / (|k0| |kt|), in [0, 2] (Fort et al. 2020, section 3), in float64.

    Computed as |u - v|^2 / 2 for the normalised kernels, which does not cancel when they are close.
    Raises ValueError if their shapes differ.
    """
    u, v = _both(k0, kt)
    return (0.5 * (u / u.norm() - v / v.norm()).square().sum()).item()


def _both(k0: Tensor, kt: Tensor) -> tuple[Tensor, Tensor]:
    if k0.shape != kt.shape:
        raise ValueError(
            f"kernels have shapes {tuple(k0.shape)} and {tuple(kt.shape)}: give two of one kind, on the same inputs"
        )
    return k0.double(), kt.double()
