"""Grokking as a passage from lazy to rich (Kumar, Bordelon, Gershman & Pehlevan, ICLR 2024), by an exact reduction.

The network f(x) = (1/N) sum_i phi(w_i . x), phi(h) = h + eps h^2 / 2, knows its weights by wbar = mean_i w_i and
M = mean_i w_i w_i^T alone: f(x) = wbar . x + (eps / 2) x^T M x. So does its training. For F = alpha (f - f_0) and
R = |F - y|^2 / P on P inputs X, full-batch gradient descent of size c N / alpha^2 on w (c N on theta) moves all neurons
by one affine map,

    w_i <- w_i - s (g + eps G w_i),     s = 2 c / (alpha P),  r = F - y,  g = X^T r,  G = X^T diag(r) X,

whence with A = I - s eps G

    wbar <- A wbar - s g,     M <- A M A - s (A wbar g^T + g wbar^T A) + s^2 g g^T.

In that form F is alpha times a difference, which cancels for large alpha. In the scaled moments
delta = alpha (wbar - wbar_0) and Delta = alpha (M - M_0) nothing is subtracted, and alpha = inf is the linearized
network: with sigma = 2 c / P, the mean force v = g + eps G wbar and its correlation with the weights
C = mean_i (g + eps G w_i) w_i^T = g wbar^T + eps G M,

    F(x) = delta . x + (eps / 2) x^T Delta x,
    delta <- delta - sigma v,     Delta <- Delta - sigma (C + C^T) + (sigma^2 / alpha) (v g^T + eps C G).

A step costs 4 P D^2 + 4 D^3 operations whatever the width, which may be infinite (wbar_0 = 0, M_0 = I).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..anchored import check_alpha
from ..centered import CenteredModel


class QuadraticNetwork(nn.Module):
    """x (n, D) -> (1/N) sum_i phi(w_i . x) (n,), phi(h) = h + curvature h^2 / 2, for weights (N, D)."""

    def __init__(self, weights: Tensor, curvature: float):
        super().__init__()
        self.weights = nn.Parameter(weights)
        self.curvature = curvature

    def forward(self, x: Tensor) -> Tensor:
        """The outputs (n,)."""
        h = x @ self.weights.T
        return (h + self.curvature / 2 * h.square()).mean(-1)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The function x -> b . x + x^T S x, ``linear`` b (D,) and ``form`` S (D, D), which is symmetric."""

    linear: Tensor
    form: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The values (n,) at x (n, D)."""
        return x @ self.linear + ((x @ self.form) * x).sum(-1)

    @classmethod
    @torch.no_grad()
    def of(cls, model: CenteredModel) -> "Quadratic":
        """The function of a centered :class:`QuadraticNetwork`, from its w_0 and theta, without cancellation."""
        start, theta = model.initial_weights()["weights"], model.theta["weights"]
        curvature: float = model.structure.curvature  # type: ignore[assignment]
        second = (start + theta / (2 * model.alpha)).T @ theta / len(theta)
        return cls(theta.mean(0), curvature / 2 * (second + second.T))

    def __sub__(self, other: "Quadratic") -> "Quadratic":
        return Quadratic(self.linear - other.linear, self.form - other.form)

    def mean_square(self) -> float:
        """Its mean square over x ~ N(0, I / D), |b|^2 / D + ((tr S)^2 + 2 |S|_F^2) / D^2."""
        dimension = len(self.linear)
        of_form = self.form.trace().square() + 2 * self.form.square().sum()
        return (self.linear.square().sum() / dimension + of_form / dimension**2).item()


@dataclass(frozen=True, eq=False)
class Moments:
    """``mean`` wbar (D,) and ``second`` M = mean_i w_i w_i^T (D, D) of a network's weights."""

    mean: Tensor
    second: Tensor

    @classmethod
    def of(cls, weights: Tensor) -> "Moments":
        """Those of weights (N, D)."""
        return cls(weights.mean(0), weights.T @ weights / len(weights))

    def kernel(self, x: Tensor, z: Tensor, curvature: float) -> Tensor:
        """K(x, z) = x . z (1 + eps wbar . (x + z) + eps^2 x^T M z), N times the network's tangent kernel: (n, m)."""
        linear = curvature * ((x @ self.mean)[:, None] + z @ self.mean)
        return (x @ z.T) * (1 + linear + curvature**2 * (x @ self.second @ z.T))

    def alignment(self, target: Quadratic, curvature: float) -> float:
        """<K, y y^T> / (|K| |y y^T|) for K and y centered over x ~ N(0, I / D).

        That is the limit of ``kernel_alignment`` on many inputs; on n of them the diagonal of K adds about sqrt(D) / n.

        With p = E y x = b / D and C = E (y - E y) x x^T = 2 S / D^2 the numerator is |p|^2 + 2 eps p . C wbar +
        eps^2 tr(C M C), and |K|^2 = 1/D + 2 eps^2 (D + 1) |wbar|^2 / D^3 + eps^4 ((D + 2) |M|^2 + (tr M)^2) / D^4.
        """
        d, eps = len(self.mean), curvature
        p, C = target.linear / d, 2 * target.form / d**2
        aligned = p @ p + 2 * eps * p @ C @ self.mean + eps**2 * (C @ self.second @ C).trace()
        of_pairs = (d + 2) * self.second.square().sum() + self.second.trace().square()
        squares = 1 / d + 2 * eps**2 * (d + 1) / d**3 * self.mean.square().sum() + eps**4 / d**4 * of_pairs
        variance = target.linear.square().sum() / d + 2 * target.form.square().sum() / d**2
        return (aligned / (squares.sqrt() * variance)).item()


class MomentDescent:
    """Gradient descent of size ``rate`` N on theta for the centered :class:`QuadraticNetwork`, by its moments.

    Args:
        x: (P, D) inputs, with targets y (P,).
        start: the moments of w_0.
        curvature: eps.
        alpha: the scale, in (0, inf].
        rate: c.

    Attributes:
        function: the centered network F as it is now, a :class:`Quadratic`.
    """

    def __init__(self, x: Tensor, y: Tensor, start: Moments, curvature: float, alpha: float, rate: float):
        self.x, self.y, self.start, self.curvature, self.alpha = x, y, start, curvature, check_alpha(alpha)
        self._size = 2 * rate / len(x)
        self._mean, self._second = torch.zeros_like(start.mean), torch.zeros_like(start.second)

    @property
    def function(self) -> Quadratic:
        """F(x) = delta . x + (eps / 2) x^T Delta x."""
        return Quadratic(self._mean, self.curvature / 2 * self._second)

    @property
    def moments(self) -> Moments:
        """wbar and M."""
        return Moments(self.start.mean + self._mean / self.alpha, self.start.second + self._second / self.alpha)

    def step(self, residual: Tensor) -> None:
        """One step, from r = F(x) - y (P,) on the training inputs."""
        size, eps, now = self._size, self.curvature, self.moments
        g, G = residual @ self.x, self.x.T @ (residual[:, None] * self.x)
        force = g + eps * (G @ now.mean)
        cross = torch.outer(g, now.mean) + eps * (G @ now.second)
        squares = torch.outer(force, g) + eps * (cross @ G)
        self._mean = self._mean - size * force
        self._second = self._second - size * (cross + cross.T) + size**2 / self.alpha * squares


def kernel_regression(x: Tensor, y: Tensor, moments: Moments, curvature: float) -> Quadratic:
    """The function of least norm that interpolates y (P,) at x (P, D) with the tangent kernel at ``moments``.

    It is where the linearized network ends under gradient descent, sum_m a_m K(x, x_m) with a = K^+ y: a quadratic.
    """
    a = torch.linalg.pinv(moments.kernel(x, x, curvature), hermitian=True) @ y
    g, G = a @ x, x.T @ (a[:, None] * x)
    cross = torch.outer(g, moments.mean) + curvature * (G @ moments.second)
    return Quadratic(g + curvature * (G @ moments.mean), curvature / 2 * (cross + cross.T))
