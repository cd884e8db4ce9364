"""How far a kernel has moved from another, on the same inputs."""

from torch import Tensor

from .matrix import check_kernel


def kernel_drift(k0: Tensor, kt: Tensor) -> float:
    """|kt - k0|_F / |k0|_F, in [0, inf), in float64; nan where k0 is zero. Cost: a few passes over the entries.

    Args:
        k0: a kernel of any kind, such as (n1, n2, K, K), (n1, n2) or (n1, n2, K).
        kt: of the same shape.

    Raises:
        TypeError: one is not a tensor of real floating numbers.
        ValueError: their shapes differ, or one is empty or not finite.
    """
    k0, kt = _both(k0, kt)
    scale = k0.abs().max()  # squares of large entries would be infinite
    k0, kt = k0 / scale, kt / scale
    return ((kt - k0).norm() / k0.norm()).item()


def kernel_distance(k0: Tensor, kt: Tensor) -> float:
    """1 - <k0, kt> / (|k0| |kt|), in [0, 2], in float64; nan where one is zero. Cost: a few passes over the entries.

    Computed as |u - v|^2 / 2 for the normalised kernels, which does not cancel when they are close. Arguments and
    errors are those of :func:`kernel_drift`.

    Raises:
        TypeError: one is not a tensor of real floating numbers.
        ValueError: their shapes differ, or one is empty or not finite.

    Source: Fort et al., "Deep learning versus kernel learning" (NeurIPS 2020), section 3.
    """
    u, v = (kernel / kernel.abs().max() for kernel in _both(k0, kt))
    return (0.5 * (u / u.norm() - v / v.norm()).square().sum()).item()


def _both(k0: Tensor, kt: Tensor) -> tuple[Tensor, Tensor]:
    check_kernel(k0, "k0")
    check_kernel(kt, "kt")
    if k0.shape != kt.shape:
        raise ValueError(
            f"kernels have shapes {tuple(k0.shape)} and {tuple(kt.shape)}: give two of one kind, on the same inputs"
        )
    return k0.double(), kt.double()
