"""The first and the second differential of a module in its weights, by differentiation, never formed."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from ..functional import forward_differentiable
from ..kernels import Jacobian


class Differentials(Jacobian):
    """J = Dh(w) as the linear operator that :class:`lazytorch.kernels.Jacobian` is, and B = D^2 h(w) beside it.

    h maps the trainable parameters w in R^P to the outputs of ``net`` on ``x``, stacked to n K numbers. For u, v in R^P
    and c in R^(n K), with the symmetric matrices B_c = sum_i c_i D^2 h_i(w),

        values() = h(w),   second(u, v) = B(u, v) in R^(n K),   contracted(c) = B_c (P x P),   c . B(u, v) = u . B_c v.

    Where h has kinks (ReLU) this is the second differential almost everywhere: of ReLU networks what is left are the
    terms between different layers.

    By reverse mode alone and one product at a time, as torch's forward mode and its vmap are not themselves
    differentiated right through every operator (not through layer norm). Cost: a product with B_c is a backward pass of
    a backward pass, about 6 forward passes over the inputs; second(u, v) goes back once more, about 12. Arguments and
    errors are those of :class:`lazytorch.kernels.Jacobian`, the memory is three times its.
    """

    @torch.no_grad()
    def values(self) -> np.ndarray:
        """h(w), (n K,)."""
        return torch.cat([self._network(batch)[0] for batch in self._batches]).flatten().cpu().numpy()

    def second(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """B(u, v), (n K,), for u and v (P,): the gradient of u . B_c v in c."""
        left, right = self._directions(u), self._directions(v)
        with self._plainly():
            parts = []
            for batch in self._batches:
                outputs = self._network(batch)[0]
                c = torch.zeros_like(outputs, requires_grad=True)
                parts += _gradients(_dot(self._product(outputs, c, right), left), [c])
        return torch.cat(parts).flatten().detach().cpu().numpy()

    def contracted(self, c: np.ndarray) -> LinearOperator:
        """B_c (P x P), for c (n K,)."""
        cotangents = self._on_device(c).reshape(-1, self._outputs).split([len(batch[0]) for batch in self._batches])

        def product(v: np.ndarray) -> np.ndarray:
            direction, total = self._directions(v), self._like.new_zeros(self.shape[1])
            with self._plainly():
                for batch, cotangent in zip(self._batches, cotangents, strict=True):
                    products = self._product(self._network(batch)[0], cotangent, direction)
                    total += torch.cat([each.detach().flatten() for each in products])
            return total.cpu().numpy()

        shape = self.shape[1], self.shape[1]
        return LinearOperator(shape, product, product, dtype=self.dtype)  # pyright: ignore[reportCallIssue]

    def _product(self, outputs: Tensor, c: Tensor, v: list[Tensor]) -> list[Tensor]:
        """B_c v, by parameter, with its graph."""
        parameters = list(self._network.parameters.values())
        return _gradients(_dot(_gradients(outputs, parameters, c), v), parameters)

    def _directions(self, vector: np.ndarray) -> list[Tensor]:
        return list(self._unflatten(self._on_device(vector)).values())

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """As :meth:`_exactly`, attention in its plain form, which is differentiated again."""
        with forward_differentiable(), self._exactly():
            yield


def _dot(left: list[Tensor], right: list[Tensor]) -> Tensor:
    return sum(((a * b).sum() for a, b in zip(left, right, strict=True)), left[0].new_zeros(()))


def _gradients(value: Tensor, of: list[Tensor], cotangent: Tensor | None = None) -> list[Tensor]:
    """With their own graph; 0 where ``value`` does not depend on them."""
    if not value.requires_grad:
        return [torch.zeros_like(t) for t in of]
    return list(torch.autograd.grad(value, of, cotangent, create_graph=True, materialize_grads=True))
