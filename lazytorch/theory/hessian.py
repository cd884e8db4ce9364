"""The Hessian of the square loss beside the tangent kernel: one spectrum where the residual is gone.

With the outputs h(w) of n examples stacked to n K numbers and r = h(w) - y, the loss L = |r|^2 / 2n has the Hessian

    H = (J^T J + B_r) / n,        B_r = sum_i r_i D^2 h_i(w).

J^T J (P x P, the matrix of Gauss and Newton) and the tangent kernel J J^T (n K x n K) share their non-zero eigenvalues,
and by Weyl's inequality

    |lambda_k(H) - lambda_k(J^T J / n)| <= |B_r| / n <= |r| |D^2 h| / n     for every k,

which is no more than kappa(w) lambda_1(J^T J / n), see :func:`lazytorch.theory.kappa`. At an interpolating minimum,
r = 0, the eigenvalues of the Hessian are those of the kernel over n, and 0 in the other P - n K directions. Near it
they differ by what is linear in r: like the square root of the loss.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import LinearOperator
from torch import Tensor, nn

from ..anchored import Anchored
from ..kernels import top_eigenpairs
from .differentials import Differentials
from .linear_dynamics import as_outputs


@dataclass(frozen=True, eq=False)
class HessianSpectra:
    """At the weights of a network; eigenvalues (count,), from the largest.

    Attributes:
        loss: L = |h(w) - y|^2 / 2n.
        hessian: the largest eigenvalues of the Hessian of L.
        gauss_newton: those of J^T J / n.
        kernel: those of J J^T / n.
        bound: |B_r| / n, by which ``hessian`` and ``gauss_newton`` differ at most.
    """

    loss: float
    hessian: np.ndarray
    gauss_newton: np.ndarray
    kernel: np.ndarray
    bound: float

    @property
    def difference(self) -> float:
        """max_k |lambda_k(H) - lambda_k(J^T J / n)| / lambda_k(J^T J / n)."""
        return float(np.max(np.abs(self.hessian - self.gauss_newton) / self.gauss_newton))


def hessian_operator(net: nn.Module, x: Tensor | tuple[Tensor, ...], y: Tensor) -> LinearOperator:
    """The Hessian (P x P) of L = |h(w) - y|^2 / 2n in the trainable parameters, never formed, in float64.

    Cost: a product is one with J, one with J^T and one with B_r, about 11 forward passes; memory: that of
    :class:`lazytorch.kernels.Jacobian`, in whose order the parameters are.

    Args:
        net: a plain module whose examples do not interact; of a CenteredModel give ``to_module(torch.float64)``.
        x: (n, ...) inputs, or a tuple of such tensors, which are the arguments of ``net``.
        y: targets in the shape of the outputs, or (n,) integer labels, which become one-hot targets.

    Raises:
        TypeError: ``net`` is a CenteredModel, whose outputs are others than its network's.
        ValueError: targets of another shape, or as :class:`lazytorch.kernels.Jacobian`.
        RuntimeError: torch cannot differentiate an operator in ``net`` twice.
    """
    jacobian, curvature, _ = _parts(net, x, y)
    return _hessian(jacobian, curvature, len(y))


def hessian_spectra(net: nn.Module, x: Tensor | tuple[Tensor, ...], y: Tensor, count: int = 10) -> HessianSpectra:
    """The ``count`` largest eigenvalues of the Hessian, of J^T J / n and of J J^T / n, by Lanczos each.

    Arguments and errors are those of :func:`hessian_operator`; besides ValueError if ``count`` is not in [1, n K] or
    above P, and RuntimeError where Lanczos does not converge. Cost: a few times ``count`` products with each.
    """
    jacobian, curvature, residual = _parts(net, x, y)
    n, hessian = len(y), _hessian(jacobian, curvature, len(y))
    grams = jacobian.T @ jacobian, jacobian @ jacobian.T
    gauss_newton, kernel = (top_eigenpairs(gram, count)[0] / n for gram in grams)
    bound = max(top_eigenpairs(sign * curvature, 1)[0].item() for sign in (1, -1)) / n
    loss = float(residual @ residual) / (2 * n)
    return HessianSpectra(loss, top_eigenpairs(hessian, count)[0], gauss_newton, kernel, bound)


def _hessian(jacobian: Differentials, curvature: LinearOperator, n: int) -> LinearOperator:
    return (1 / n) * (jacobian.T @ jacobian + curvature)


def _parts(net, x, y) -> tuple[Differentials, LinearOperator, np.ndarray]:
    """J, B_r and r."""
    if isinstance(net, Anchored):
        raise TypeError(f"net is a {type(net).__name__}: give net.to_module(torch.float64), or the module it wraps")
    jacobian, n = Differentials(net, x), len(y)
    outputs = jacobian.values()
    targets = as_outputs("y", y.flatten(1) if y.ndim > 2 else y, n, len(outputs) // n)
    residual = outputs - targets.double().flatten().cpu().numpy()
    return jacobian, jacobian.contracted(residual), residual
