"""A kernel as a matrix: its layout, its symmetry, and the level of its rounding."""

import torch
from torch import Tensor

ROUNDING = 10  # in units of eps |K|_F; what is not there comes out as up to 1 in matrices of up to 1500 rows


def check_kernel(kernel: Tensor, name: str = "the kernel") -> None:
    """Refuse what is no kernel, whatever its layout.

    Raises:
        TypeError: it is not a tensor of real floating numbers.
        ValueError: it is empty or not finite.
    """
    if not isinstance(kernel, Tensor):
        raise TypeError(f"{name} is a {type(kernel).__name__}: give a tensor, such as empirical_ntk returns")
    if not kernel.is_floating_point():
        raise TypeError(f"{name} is of {kernel.dtype}: give real floating numbers, by .double()")
    if not kernel.numel():
        raise ValueError(f"{name} is empty, {tuple(kernel.shape)}: give a kernel of one input or more")
    if not kernel.isfinite().all():
        raise ValueError(f"{name} has entries that are not finite: look at the network's weights and inputs")


def kernel_matrix(kernel: Tensor) -> Tensor:
    """A full kernel (n1, n2, K, K) as the (n1 K, n2 K) matrix J(x1) J(x2)^T; a trace kernel (n1, n2) as it is.

    Row i K + k is output k of input i. In float64.

    Raises:
        ValueError: the kernel is neither; a diagonal one, (n1, n2, K), is not one matrix.
    """
    if kernel.ndim == 4 and kernel.shape[2] == kernel.shape[3]:
        n1, n2, outputs, _ = kernel.shape
        return kernel.double().transpose(1, 2).reshape(n1 * outputs, n2 * outputs)
    if kernel.ndim == 2:
        return kernel.double()
    raise ValueError(
        f'a kernel of shape {tuple(kernel.shape)} is not one matrix: give empirical_ntk(..., kind="full"), '
        '(n1, n2, K, K), or kind="trace", (n1, n2)'
    )


def symmetric_matrix(kernel: Tensor) -> Tensor:
    """The :func:`kernel_matrix` of a kernel of inputs with themselves, made exactly symmetric.

    Raises:
        TypeError: it is not a tensor of real floating numbers.
        ValueError: it is empty, not square, not finite, or not symmetric to a thousand times its type's rounding.
    """
    check_kernel(kernel)
    matrix = kernel_matrix(kernel)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a kernel of shape {tuple(kernel.shape)} is not that of inputs with themselves: give one x")
    if (matrix - matrix.T).norm() > 1000 * torch.finfo(kernel.dtype).eps * matrix.norm():
        raise ValueError("the kernel is not symmetric: give that of inputs with themselves, empirical_ntk(net, x)")
    return (matrix + matrix.T) / 2


def rounding_level(kernel: Tensor) -> float:
    """10 eps |K|_F, eps of the kernel's own type: eigenvalues below it tell nothing.

    Pass kernels in the type that they were computed in.
    """
    return ROUNDING * torch.finfo(kernel.dtype).eps * kernel.double().norm().item()
