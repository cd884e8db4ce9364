"""Two-layer linear networks from lambda-balanced weights, in closed form (Domine et al., ICLR 2025).

f(x) = W_2 W_1 x for whitened inputs, X X^T = P I. With Sigma = Y X^T / P the flow of |Y - W_2 W_1 X|^2 / (2 P),

    W_1' = W_2^T (Sigma - W_2 W_1),     W_2' = (Sigma - W_2 W_1) W_1^T,

conserves W_2^T W_2 - W_1 W_1^T. Where that is lambda I, Q = [W_1^T; W_2] obeys Q' = F Q - Q Q^T Q / 2 with
F = [[-lambda/2 I, Sigma^T], [Sigma, lambda/2 I]], and the matrix Riccati equation of Q Q^T has the solution

    Q Q^T(t) = e^{Ft} Q_0 [I + Q_0^T F^-1 (e^{2Ft} - I) Q_0 / 2]^-1 Q_0^T e^{Ft}.

That is its form in print, and no way to compute it: the bracket's condition grows as e^{2 (f_1 - f_h) t}, f_1 ... f_h
the largest eigenvalues of F, so that in float64 no digit is left once (f_1 - f_h) t is about 18; and F may be singular
where lambda = 0. In the eigenbasis F = U diag(f) U^T, with q = U^T Q_0 and w = (e^{2ft} - 1) / (2f), which is t where
f = 0, the bracket is the Gram matrix of the columns of [I; sqrt(w) q] = [O'; O] R, a QR decomposition, and

    Q Q^T(t) = U d O O^T d U^T,     d = e^{ft} / sqrt(w) = sqrt(2f / (1 - e^{-2ft})),

where nothing grows. Rows that differ by magnitudes keep their digits in a QR by reflections if rows are sorted and
columns pivoted (Cox & Higham, BIT 1998). As t goes to infinity Q Q^T tends to the sum of 2 f u u^T over the h largest
f > 0, for h hidden units and weights in general position: only lambda and Sigma decide the kernel at the end.
"""

import numpy as np
import torch
from torch import Tensor

LARGEST = 340  # of f t, where the square of e^{ft} is still a float64
BALANCED = 1e-8  # of the weights' squares, from which on they are not balanced


def balanced_weights(product: Tensor, balance: float, rotation: Tensor) -> tuple[Tensor, Tensor]:
    """W_1 (h, i) and W_2 (o, h) with W_2 W_1 = ``product`` (o, i) and W_2^T W_2 - W_1 W_1^T = ``balance`` I.

    For the singular value decomposition U S V^T of the product W_2 = U S_2 R^T and W_1 = R S_1 V^T, where S_1 S_2 = S,
    S_2^2 - S_1^2 = lambda I, and R, ``rotation``, is any orthogonal (h, h).

    Raises:
        ValueError: the product's rank is above h, or h above o for lambda > 0, above i for lambda < 0: there are none.
    """
    hidden, (outputs, inputs) = len(rotation), product.shape
    left, values, right = torch.linalg.svd(product)
    if hidden < len(values) and values[hidden] > 1e-12 * values[0]:
        raise ValueError(f"the product has a rank above {hidden}, the hidden units: give one of lower rank")
    if hidden > (outputs if balance > 0 else inputs if balance < 0 else hidden):
        raise ValueError(
            f"no weights of {hidden} hidden units, {inputs} inputs and {outputs} outputs have lambda = {balance:g}: "
            "take no more hidden units than outputs for lambda > 0, than inputs for lambda < 0"
        )
    kept = min(hidden, len(values))
    s = torch.zeros(hidden, dtype=product.dtype)
    s[:kept] = values[:kept]
    root = (balance**2 + 4 * s.square()).sqrt()
    larger = ((root + abs(balance)) / 2).sqrt()
    smaller = torch.where(larger > 0, s / larger, 0.0)  # as (root - |lambda|) / 2 cancels
    s_1, s_2 = (smaller, larger) if balance >= 0 else (larger, smaller)
    return rotation @ _diagonal(s_1, hidden, inputs) @ right, left @ _diagonal(s_2, outputs, hidden) @ rotation.T


def _diagonal(values: Tensor, rows: int, columns: int) -> Tensor:
    matrix = values.new_zeros(rows, columns)
    kept = min(rows, columns)
    matrix[range(kept), range(kept)] = values[:kept]
    return matrix


class BalancedLinearNetwork:
    """The gradient flow of x -> W_2 W_1 x towards ``correlation`` Sigma, from weights that are lambda-balanced.

    What depends on time is given as Q Q^T = [[W_1^T W_1, (W_2 W_1)^T], [W_2 W_1, W_2 W_2^T]], (i + o, i + o) float64.

    Args:
        w_1: (h, i); ``w_2``: (o, h), as :func:`balanced_weights` makes them.
        correlation: (o, i), Sigma = Y X^T / P.

    Attributes:
        balance: lambda.
        matrix: F.

    Cost: an eigendecomposition of F, then a QR of size (i + o + h, h) a time.

    Raises:
        ValueError: the weights are not balanced.
    """

    def __init__(self, w_1: Tensor, w_2: Tensor, correlation: Tensor):
        self.w_1, self.w_2, self.correlation = w_1.double(), w_2.double(), correlation.double()
        conserved = conserved_quantity(self.w_1, self.w_2)
        self.balance = conserved.diagonal().mean().item()
        identity = torch.eye(len(w_1), dtype=torch.float64)
        size = self.w_1.square().sum() + self.w_2.square().sum()
        if not (conserved - self.balance * identity).norm() <= BALANCED * size:
            raise ValueError(
                "W_2^T W_2 - W_1 W_1^T is no multiple of the identity: make the weights by balanced_weights"
            )
        outputs, inputs = correlation.shape
        half = self.balance / 2
        corners = -half * torch.eye(inputs, dtype=torch.float64), half * torch.eye(outputs, dtype=torch.float64)
        upper, lower = torch.cat([corners[0], self.correlation.T], 1), torch.cat([self.correlation, corners[1]], 1)
        self.matrix = torch.cat([upper, lower])
        self._start = torch.cat([self.w_1.T, self.w_2])
        self._rates, self._vectors = torch.linalg.eigh(self.matrix)

    def gram(self, t: float) -> Tensor:
        """Q Q^T(t), exact to rounding at every t.

        Raises:
            ValueError: t is beyond 340 / f, f the largest eigenvalue of F.
        """
        if t == 0:
            return self._start @ self._start.T
        rates, growth = self._rates, self._rates * t
        if not 0 < growth[-1] <= LARGEST:
            raise ValueError(f"t = {t:g} is not in [0, {LARGEST / rates[-1]:.3g}]: for later times use limit()")
        times = torch.where(rates == 0, t, torch.expm1(2 * growth) / (2 * rates))
        rows = torch.cat([times.sqrt()[:, None] * (self._vectors.T @ self._start), torch.eye(len(self.w_1)).double()])
        order = rows.abs().amax(1).argsort(descending=True)
        factor = torch.empty_like(rows)
        factor[order] = _pivoted(rows[order])
        final = self._vectors * (growth.exp() / times.sqrt()) @ factor[: len(rates)]
        return final @ final.T

    def gram_in_print(self, t: float) -> Tensor:
        """Q Q^T(t) by the formula in print as it stands: see the module. Its digits are lost as t grows, and where F is
        singular it has none."""
        growth = torch.linalg.matrix_exp(self.matrix * t)
        identity = torch.eye(len(self.matrix), dtype=torch.float64)
        integral = torch.linalg.inv_ex(self.matrix).inverse @ (growth @ growth - identity) / 2
        moved = growth @ self._start
        bracket = torch.eye(len(self.w_1), dtype=torch.float64) + self._start.T @ integral @ self._start
        return moved @ torch.linalg.inv_ex(bracket).inverse @ moved.T

    def limit(self) -> Tensor:
        """Q Q^T as t goes to infinity, for weights in general position."""
        rates, vectors = self._rates[-len(self.w_1) :].clamp(min=0), self._vectors[:, -len(self.w_1) :]
        return vectors * (2 * rates) @ vectors.T

    def product(self, gram: Tensor) -> Tensor:
        """W_2 W_1 (o, i)."""
        inputs = self.w_1.shape[1]
        return gram[inputs:, :inputs]

    def loss(self, gram: Tensor) -> float:
        """|Sigma - W_2 W_1|^2 / 2, the loss above its minimum."""
        return ((self.correlation - self.product(gram)).square().sum() / 2).item()

    def kernel(self, gram: Tensor) -> Tensor:
        """The full tangent kernel (i, i, o, o) of the inputs e_1 ... e_i; any whitened ones give it in another basis.

        K(x, z) = (x . W_1^T W_1 z) I + (x . z) W_2 W_2^T.
        """
        inputs, outputs = self.w_1.shape[1], len(self.w_2)
        first, second = gram[:inputs, :inputs], gram[inputs:, inputs:]
        units = torch.eye(inputs, dtype=gram.dtype), torch.eye(outputs, dtype=gram.dtype)
        return first[:, :, None, None] * units[1] + units[0][:, :, None, None] * second


def _pivoted(rows: Tensor) -> Tensor:
    """The orthonormal factor of the QR decomposition with pivoted columns."""
    from scipy.linalg import qr  # importing lazytorch.theory does without scipy

    return torch.from_numpy(qr(rows.numpy(), mode="economic", pivoting=True)[0])


def distance_by_expansion(network: BalancedLinearNetwork) -> float:
    """The kernel distance between start and end, to leading order in 1 / lambda.

    For lambda > 0 the kernel is near lambda V, V the projection on the outputs that W_2 reaches; for lambda < 0 it is
    near |lambda| V, V that on the inputs that W_1 sees. With h < o (i) hidden units V turns from the singular space V_0
    of the product A_0 at the start to that of Sigma, and the distance is 1 - tr(V_0 V) / h. With h = o (i) V is the
    identity, the kernel moves by
    (L (x) I + I (x) R) / lambda, L = Sigma Sigma^T - A_0 A_0^T, R = Sigma^T Sigma - A_0^T A_0, and the distance
    is |traceless part of L (x) I + I (x) R|^2 / (2 i o lambda^4).
    """
    hidden, start, end = len(network.w_1), network.w_2 @ network.w_1, network.correlation
    if network.balance < 0:
        start, end = start.T, end.T
    o, i = end.shape
    if hidden < o:
        first, last = (torch.linalg.svd(matrix)[0][:, :hidden] for matrix in (start, end))
        return 1 - ((first.T @ last).square().sum() / hidden).item()
    left, right = end @ end.T - start @ start.T, end.T @ end - start.T @ start
    squares = i * left.square().sum() + o * right.square().sum() + 2 * left.trace() * right.trace()
    of_trace = (i * left.trace() + o * right.trace()).square() / (i * o)
    return ((squares - of_trace) / (2 * i * o * network.balance**4)).item()


def conserved_quantity(w_1: Tensor, w_2: Tensor) -> Tensor:
    """W_2^T W_2 - W_1 W_1^T (h, h)."""
    return w_2.T @ w_2 - w_1 @ w_1.T


def integrate_flow(
    w_1: Tensor, w_2: Tensor, correlation: Tensor, times: list[float], tolerance: float = 1e-12
) -> list[tuple[Tensor, Tensor]]:
    """(W_1, W_2) at ascending ``times``, of the gradient flow from any weights at time 0, integrated by DOP853.

    ``tolerance``: relative; the absolute one is a hundredth of it.

    Raises:
        RuntimeError: the integration fails.
    """
    from scipy.integrate import solve_ivp

    target, shapes = correlation.double().numpy(), (tuple(w_1.shape), tuple(w_2.shape))

    def split(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return flat[: w_1.numel()].reshape(shapes[0]), flat[w_1.numel() :].reshape(shapes[1])

    def velocity(_, flat: np.ndarray) -> np.ndarray:
        first, second = split(flat)
        error = target - second @ first
        return np.concatenate([(second.T @ error).ravel(), (error @ first.T).ravel()])

    start = torch.cat([w_1.double().flatten(), w_2.double().flatten()]).numpy()
    options = {"t_eval": times, "rtol": tolerance, "atol": tolerance / 100}
    solution = solve_ivp(velocity, (0, times[-1]), start, "DOP853", **options)
    if not solution.success:
        raise RuntimeError(f"the flow could not be integrated to t = {times[-1]:g}: {solution.message}")
    pairs = (split(flat) for flat in solution.y.T.copy())
    return [(torch.from_numpy(first), torch.from_numpy(second)) for first, second in pairs]
