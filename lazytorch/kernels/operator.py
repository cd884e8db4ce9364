"""The Jacobian of a module and its tangent kernel as matrix-free linear operators, for Lanczos methods."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn

from ..anchored import Anchored
from ..functional import forward_differentiable, jvp, values_at
from ..progress import LateBar
from .inspection import inspect_network
from .recording import Network, exact_derivatives
from .tangent import as_inputs

SMALL = 64  # up to this many rows an operator is formed, which is exact and quicker than Lanczos
BASIS = {"LA": 20, "SA": 1000}  # Lanczos vectors: the lower end is crowded, and comes without restarts or hardly


class Jacobian(LinearOperator):
    """J (n K x P), the derivative of the outputs of ``net`` on ``x`` by its trainable parameters, never formed.

    A ``scipy.sparse.linalg.LinearOperator`` on numpy vectors: row i K + k is output k of input i, the columns are the
    parameters in the order of ``net.named_parameters()``, flattened. ``J.T`` and products of operators are operators
    too: ``Jacobian(net, x1) @ Jacobian(net, x2).T`` is the tangent kernel, see :func:`kernel_operator`. Products are in
    float64 whatever the type of ``net``, because Lanczos methods resolve eigenvalues down to their rounding only.

    Cost: a product with J is one forward-mode pass over the inputs, with J.T one forward and one backward pass. Memory:
    the activations of ``batch_size`` inputs and a few vectors of P numbers, on the device of ``net``.

    Args:
        net: any module whose examples do not interact; a CenteredModel means its network at ``weights()``.
        x: (n, ...) inputs, or a tuple of such tensors, which are the arguments of ``net``.
        weights: dict name -> tensor, values to use instead of the module's own parameters (and buffers).
        batch_size: inputs of one pass.

    Raises:
        ValueError: examples that interact, random outputs, nothing trainable, unknown names in ``weights``, outputs
            that are not one tensor, or a ``batch_size`` below 1.
    """

    def __init__(
        self,
        net: nn.Module,
        x: Tensor | tuple[Tensor, ...],
        weights: dict[str, Tensor] | None = None,
        batch_size: int = 128,
    ):
        net = net.to_module() if isinstance(net, Anchored) else net
        trainable = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        if not trainable:
            raise ValueError(f"{type(net).__name__} has no trainable parameters: a Jacobian needs at least one")
        values = values_at(net, weights)
        self._like = values[trainable[0]].new_empty(0, dtype=torch.float64)
        inputs = [tensor.to(self._like.device) for tensor in as_inputs(x, torch.float64)]
        self._batches = list(zip(*(tensor.split(batch_size) for tensor in inputs), strict=True))
        self._network = Network(net, {name: self._cast(tensor) for name, tensor in values.items()})
        self._weights = {name: tensor.detach() for name, tensor in self._network.parameters.items()}
        with self._exactly():
            self._outputs = inspect_network(self._network, self._batches[0]).outputs  # refuses examples that interact
        rows = len(inputs[0]) * self._outputs
        super().__init__(np.dtype(np.float64), (rows, sum(t.numel() for t in self._weights.values())))

    def _matvec(self, v: np.ndarray) -> np.ndarray:
        tangent = self._unflatten(self._on_device(v))
        with forward_differentiable(), self._exactly():
            parts = [jvp(self._function(b), (self._weights,), (tangent,))[1] for b in self._batches]
        return torch.cat(parts).flatten().cpu().numpy()

    def _rmatvec(self, u: np.ndarray) -> np.ndarray:
        cotangents = self._on_device(u).reshape(-1, self._outputs).split([len(b[0]) for b in self._batches])
        total = self._like.new_zeros(self.shape[1])
        with self._exactly():
            for batch, cotangent in zip(self._batches, cotangents, strict=True):
                outputs, parameters = self._network(batch)[0], list(self._network.parameters.values())
                gradients = torch.autograd.grad(outputs, parameters, cotangent, materialize_grads=True)
                # Those that torch 2.6 makes of zeros require gradients.
                total += torch.cat([gradient.detach().flatten() for gradient in gradients])
        return total.cpu().numpy()

    @contextmanager
    def _exactly(self) -> Iterator[None]:
        with exact_derivatives(self._like.device), self._network.installed():
            yield

    def _function(self, batch: tuple[Tensor, ...]):
        return lambda weights: self._network(batch, values=weights)[0]

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._like) if tensor.is_floating_point() else tensor.to(self._like.device)

    def _on_device(self, vector: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(vector)).to(self._like).flatten()

    def _unflatten(self, vector: Tensor) -> dict[str, Tensor]:
        parts = vector.split([tensor.numel() for tensor in self._weights.values()])
        return {name: p.view_as(t) for (name, t), p in zip(self._weights.items(), parts, strict=True)}


def kernel_operator(
    net: nn.Module,
    x1: Tensor | tuple[Tensor, ...],
    x2: Tensor | tuple[Tensor, ...] | None = None,
    weights: dict[str, Tensor] | None = None,
    batch_size: int = 128,
) -> LinearOperator:
    """The full tangent kernel J(x1) J(x2)^T, (n1 K x n2 K), never formed; x2=None means x1.

    Cost: a product is one product with each :class:`Jacobian`, whose other arguments ``weights`` and ``batch_size``
    are, and whose inputs ``x1`` (n1, ...) and ``x2`` (n2, ...).

    Raises:
        ValueError: as :class:`Jacobian`.
    """
    left = Jacobian(net, x1, weights, batch_size)
    return left @ (left if x2 is None else Jacobian(net, x2, weights, batch_size)).T


def top_eigenpairs(kernel: LinearOperator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues (count,), from the largest, and their eigenvectors (N, count), of a symmetric operator.

    By implicitly restarted Lanczos (ARPACK, ``scipy.sparse.linalg.eigsh``) to rounding; operators (N x N) of
    at most 64 rows are formed. Cost: a few times ``count`` products, with a progress bar, and 2 count + 20 vectors.

    Raises:
        ValueError: ``count`` is not in [1, N].
        RuntimeError: Lanczos does not converge, because eigenvalues lie too close to each other.
    """
    rows = kernel.shape[0]
    if not 1 <= count <= rows:
        raise ValueError(f"count={count} eigenpairs of an operator with {rows} rows: ask for 1 to {rows}")
    values, vectors = _lanczos(kernel, count, "LA")
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order]


def extreme_singular_values(jacobian: LinearOperator) -> tuple[float, float]:
    """(s_min, s_max), the smallest and the largest of the min(n K, P) singular values of J.

    Square roots of the ends of the spectrum of the smaller of J J^T and J^T J, by Lanczos as in :func:`top_eigenpairs`:
    s_min is known to sqrt(eps) s_max only, 1.5e-8 s_max in float64. Cost: tens of products for s_max, up to min(n K, P)
    for s_min where that is at most 1000, with as many vectors of that length; beyond, s_min is slow to come.

    Raises:
        RuntimeError: Lanczos does not converge.
    """
    rows, columns = jacobian.shape
    gram = jacobian @ jacobian.T if rows <= columns else jacobian.T @ jacobian
    ends = [_lanczos(gram, 1, which)[0][0] for which in ("SA", "LA")]
    smallest, largest = np.sqrt(np.maximum(ends, 0)).tolist()
    return smallest, largest


def _lanczos(operator: LinearOperator, count: int, which: str) -> tuple[np.ndarray, np.ndarray]:
    rows = operator.shape[0]
    if rows <= max(SMALL, count):
        values, vectors = np.linalg.eigh(operator.matmat(np.eye(rows, dtype=operator.dtype)))
        chosen = slice(rows - count, rows) if which == "LA" else slice(count)
        return values[chosen], vectors[:, chosen]
    start = np.random.default_rng(0).standard_normal(rows).astype(operator.dtype)
    with LateBar(desc="kernel products", unit="product") as bar:

        def product(v: np.ndarray) -> np.ndarray:
            bar.update()
            return operator.matvec(v)

        counted = LinearOperator(operator.shape, product, dtype=operator.dtype)  # pyright: ignore[reportCallIssue]
        try:
            values, vectors = eigsh(counted, count, which=which, v0=start, ncv=min(rows, 2 * count + BASIS[which]))
            return values, vectors
        except ArpackNoConvergence as error:
            raise RuntimeError(
                f"Lanczos has not converged after {bar.n} products: eigenvalues lie too close together; "
                "form the kernel, kernel_spectrum(empirical_ntk(net, x))"
            ) from error
