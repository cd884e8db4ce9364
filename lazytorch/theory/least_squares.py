"""Least squares by gradient descent, its flow, and stochastic gradient descent, in closed form.

L(w) = |X w - y|^2 / (2 n) with n examples x_i, the rows of X, in d dimensions. With A = X^T X / n, b = X^T y / n and
w* any minimiser (A w* = b), v_i the eigenvectors of A and lambda_i its eigenvalues:

    gradient descent   w' = w - eta (A w - b)     v_i.(w_t - w*) = (1 - eta lambda_i)^t v_i.(w_0 - w*)
    gradient flow      dw/dt = -A w + b           v_i.(w(t) - w*) = exp(-lambda_i t) v_i.(w_0 - w*)

What is orthogonal to all x_i has lambda = 0 and stays: iterates never leave w_0 + span(x_i), and from w_0 = 0 they go
to the minimiser of least norm.

**Stochastic descent**, w' = w - eta (x_i.w - y_i) x_i with i uniform, drawn with replacement. With e = w - w* and the
residuals r_i = y_i - x_i.w*, for which sum_i r_i x_i = 0: e' = e - eta (x_i.e - r_i) x_i. As i is independent of e,
the moments m = E e and C = E e e^T obey, exactly,

    m' = (I - eta A) m
    C' = C - eta (A C + C A) + eta^2 mean_i[(x_i.C x_i - 2 r_i x_i.m + r_i^2) x_i x_i^T]

which is affine in C, and E L = L* + tr(A C) / 2. The noise floor is where this is stationary, A C + C A = eta
mean_i[(x_i.C x_i + r_i^2) x_i x_i^T]: the trace of both sides gives E L - L* = (eta / 4) mean_i r_i^2 |x_i|^2 to first
order, and L* eta R^2 / (2 - eta R^2) if all |x_i| = R. Where the data are interpolated, all r_i = 0, and there is none.
"""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor


class LeastSquares:
    """L(w) = |X w - y|^2 / (2 n), in float64.

    Args:
        x: (n, d), the examples.
        y: (n,), their targets.

    Attributes:
        hessian: (d, d), A = X^T X / n.
        solution: (d,), the minimiser of least norm.
        eigenvalues: (d,), of A, ascending; ``eigenvectors``: (d, d), their columns.

    Raises:
        ValueError: shapes that do not fit.
    """

    def __init__(self, x: Tensor, y: Tensor):
        if x.ndim != 2 or y.shape != x.shape[:1]:
            raise ValueError(f"x has shape {tuple(x.shape)}, y {tuple(y.shape)}: give (n, d) and (n,)")
        self.x, self.y = x.double(), y.double()
        self.hessian = self.x.T @ self.x / len(x)
        self.solution = torch.linalg.pinv(self.x) @ self.y
        self.eigenvalues, self.eigenvectors = torch.linalg.eigh(self.hessian)

    def loss(self, w: Tensor) -> Tensor:
        """L (...) at the weights (..., d)."""
        return (w @ self.x.T - self.y).square().mean(-1) / 2

    def modes(self, w: Tensor) -> Tensor:
        """v_i.(w - w*), (..., d), for weights (..., d)."""
        return (w - self.solution) @ self.eigenvectors

    def descent(self, start: Tensor, lr: float, steps: Tensor) -> Tensor:
        """w_t (T, d) of gradient descent from ``start`` (d,) at the (T,) ``steps`` t."""
        return self._weights((1 - lr * self.eigenvalues) ** steps[:, None], start)

    def flow(self, start: Tensor, times: Tensor) -> Tensor:
        """w(t) (T, d) of the linear equation dw/dt = -A w + b from ``start`` (d,) at the (T,) ``times``."""
        return self._weights(torch.exp(-self.eigenvalues * times[:, None]), start)

    def outside_span(self, w: Tensor) -> Tensor:
        """What of (..., d) vectors is orthogonal to all x_i."""
        return w - w @ self._row_space.T @ self._row_space

    def moments(self, start: Tensor, lr: float, steps: int) -> tuple[Tensor, Tensor]:
        """m = E e (steps + 1, d) and C = E e e^T (steps + 1, d, d) of stochastic descent from ``start`` (d,)."""
        mean = start - self.solution
        second = torch.outer(mean, mean)
        means, seconds = [mean], [second]
        for _ in range(steps):
            squares = ((self.x @ second) * self.x).sum(1) - 2 * self._residuals * (self.x @ mean) + self._residuals**2
            drift = self.hessian @ second
            second = second - lr * (drift + drift.T) + lr**2 * self._weighted(squares)
            mean = mean - lr * self.hessian @ mean
            means.append(mean)
            seconds.append(second)
        return torch.stack(means), torch.stack(seconds)

    def excess(self, second: Tensor) -> Tensor:
        """E L - L* = tr(A C) / 2, (...), of second moments C (..., d, d)."""
        return (self.hessian * second).sum((-2, -1)) / 2

    def stationary(self, lr: float) -> Tensor:
        """C (d, d) where stochastic descent is stationary. Cost: a linear system of d^2 unknowns.

        Raises:
            ValueError: fewer examples than dimensions, where C depends on the start; or no step this large is stable.
        """
        if self._row_space.shape[0] < self.x.shape[1]:
            raise ValueError("the examples do not span the space, where nothing moves: give more of them")
        eye = torch.eye(self.x.shape[1], dtype=torch.float64)
        pairs = torch.einsum("ni,nj->nij", self.x, self.x).flatten(1)
        kept = torch.kron(eye, self.hessian) + torch.kron(self.hessian, eye) - lr * pairs.T @ pairs / len(pairs)
        if torch.linalg.eigvalsh(kept)[0] <= 0:
            raise ValueError(f"lr={lr:g} is not stable in mean square: give a smaller one")
        return torch.linalg.solve(kept, lr * self._weighted(self._residuals**2).flatten()).view_as(self.hessian)

    def floor_of_small_steps(self, lr: float) -> float:
        """E L - L* where stochastic descent is stationary, to first order: (lr / 4) mean_i r_i^2 |x_i|^2."""
        return lr / 4 * (self._residuals**2 * self.x.square().sum(1)).mean().item()

    @cached_property
    def _residuals(self) -> Tensor:
        return self.y - self.x @ self.solution

    @cached_property
    def _row_space(self) -> Tensor:
        """(rank, d), an orthonormal basis of the span of the examples."""
        _, values, basis = torch.linalg.svd(self.x, full_matrices=False)
        return basis[values > values[0] * max(self.x.shape) * torch.finfo(values.dtype).eps]

    def _weighted(self, weights: Tensor) -> Tensor:
        """mean_i weights_i x_i x_i^T."""
        return self.x.T @ (weights[:, None] * self.x) / len(self.x)

    def _weights(self, kept: Tensor, start: Tensor) -> Tensor:
        return self.solution + kept * self.modes(start) @ self.eigenvectors.T


def stochastic_descent(problem: LeastSquares, start: Tensor, lr: float, steps: int, chains: int) -> Iterator[Tensor]:
    """w (chains, d) of independent chains from ``start`` (d,), before the first step and after each.

    One example a step, drawn with replacement by torch's global generator.
    """
    w = start.double().expand(chains, -1)
    yield w
    for _ in range(steps):
        chosen = torch.randint(len(problem.x), (chains,))
        x = problem.x[chosen]
        w = w - lr * ((x * w).sum(1) - problem.y[chosen])[:, None] * x
        yield w
