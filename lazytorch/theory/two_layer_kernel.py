"""A wide two-layer ReLU network with fixed output weights: its kernel, and what holds it near where it started.

f(x; w) = m^(-1/2) sum_k a_k relu(w_k . x), a_k = +-1 fixed, w_k(0) ~ N(0, I) in R^d, on n inputs of norm 1 with targets
y; u are the outputs. Gradient flow on |u - y|^2 / 2 is

    dw_k/dt = -m^(-1/2) a_k sum_i (u_i - y_i) 1[w_k . x_i > 0] x_i,         du/dt = -H(w) (u - y),
    H(w)_ij = x_i . x_j (1/m) sum_k 1[w_k . x_i > 0] 1[w_k . x_j > 0],
    H*_ij = x_i . x_j (pi - arccos(x_i . x_j)) / (2 pi),

where H* = E H(w(0)), and |H(w(0)) - H*| = O(m^(-1/2)). With lambda_0 = lambda_min(H*) > 0, while
lambda_min(H(w(s))) >= lambda_0 / 2 for all s <= t,

    |u(t) - y|^2 <= exp(-lambda_0 t) |u(0) - y|^2,
    |w_k(t) - w_k(0)| <= sqrt(n/m) int_0^t |u - y| ds <= R' = 2 sqrt(n/m) |u(0) - y| / lambda_0     for every k.

A neuron that has moved by R' at most can have flipped on x_i only if |w_k(0) . x_i| <= R', which has the probability
erf(R' / sqrt(2)) <= 2 R' / sqrt(2 pi): at a fixed R' that bounds the share of flipped (i, k) in expectation over w(0).
Each flip moves an entry of H by 1/m at most, hence E sum_ij |H(w)_ij - H(0)_ij| <= 4 n^2 R' / sqrt(2 pi), and by
Markov's inequality lambda_min(H(w(t))) >= lambda_0 / 2 for all t, with probability 1 - delta where
|H(0) - H*| <= lambda_0 / 4, once R' <= R = sqrt(2 pi) delta lambda_0 / (16 n^2). That asks for a width m of the order
n^6 / (lambda_0^4 delta^2), which nobody trains; whether lambda_min stays above lambda_0 / 2 can be looked at instead.

Errata. Circulating notes square the norm in the lemma: |w_k(t) - w_k(0)|^2 <= R' is no consequence, the norm itself
falls like m^(-1/2). They print exp(+lambda_0 t), which bounds nothing that decays, and exp(-lambda_0 y) for
exp(-lambda_0 t).

Source: Du, Zhai, Poczos & Singh, "Gradient Descent Provably Optimizes Over-parameterized Neural Networks", ICLR 2019.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

STEP = 0.1  # of the integrator, over the fastest rate of decay


def limit_kernel(x: Tensor) -> Tensor:
    """H* (n, n), H*_ij = x_i . x_j (pi - arccos x_i . x_j) / 2 pi, for x (n, d) of norm 1.

    Raises:
        ValueError: an input has another norm.
    """
    _check_norms(x)
    cosine = (x @ x.T).clamp(-1, 1).fill_diagonal_(1)
    return cosine * (math.pi - cosine.arccos()) / (2 * math.pi)


def hidden_kernel(w: Tensor, x: Tensor) -> Tensor:
    """H(w) (n, n), H_ij = x_i . x_j times the share of neurons active on both, for w (m, d) and x (n, d)."""
    active = (x @ w.T > 0).to(x.dtype)
    return (x @ x.T) * (active @ active.T) / len(w)


def decay_bound(times: Tensor, lambda_0: float) -> Tensor:
    """exp(-lambda_0 t), of |u(t) - y|^2 over its start."""
    return torch.exp(-lambda_0 * times)


def displacement_bound(n: int, m: int, residual: float, lambda_0: float) -> float:
    """R' = 2 sqrt(n/m) |u(0) - y| / lambda_0, of every |w_k(t) - w_k(0)|; ``residual`` is |u(0) - y|."""
    return 2 * math.sqrt(n / m) * residual / lambda_0


def flip_bound(radius: float) -> float:
    """2 R' / sqrt(2 pi), of the expected share of flipped (i, k) where every neuron moves by R' at most."""
    return 2 * radius / math.sqrt(2 * math.pi)


def sufficient_width(n: int, residual: float, lambda_0: float, delta: float = 0.1) -> float:
    """The m from which R' <= R = sqrt(2 pi) delta lambda_0 / (16 n^2): no trajectory need be looked at there."""
    radius = math.sqrt(2 * math.pi) * delta * lambda_0 / (16 * n**2)
    return n * (2 * residual / (lambda_0 * radius)) ** 2


@dataclass(frozen=True, eq=False)
class TwoLayerFlow:
    """Gradient flow of |u - y|^2 / 2 in the hidden weights, at ``times`` (T,).

    Attributes:
        residuals: (T,), |u - y|.
        displacements: (T,), the largest |w_k - w_k(0)| of all neurons.
        flipped: (T,), the share of (i, k) where w_k . x_i > 0 is not as at the start.
        kernels: (T, n, n), H(w).
    """

    times: Tensor
    residuals: Tensor
    displacements: Tensor
    flipped: Tensor
    kernels: Tensor


def two_layer_flow(w: Tensor, a: Tensor, x: Tensor, y: Tensor, times: Tensor) -> TwoLayerFlow:
    """The flow from w (m, d), with output weights a (m,) of +-1, on x (n, d) of norm 1 with targets y (n,), in float64.

    By the classical Runge-Kutta method with steps of at most 0.1 / lambda_max(H(w(0))): between flips its error is
    about 1e-7 a step. Where a neuron flips the right side jumps by 1/sqrt(m), and some neurons slide along the kink,
    where adaptive methods stick and this one is of first order. Cost: some 16 n m d operations a step, 10 lambda_max
    steps in a unit of time; memory: a few times the weights and m n numbers.

    Args:
        times: (T,), ascending from 0.

    Raises:
        ValueError: an input has another norm, or an output weight is not +-1.
    """
    _check_norms(x)
    if not (a.abs() == 1).all():
        raise ValueError("the output weights a must be +-1: take their signs, and scale the targets")
    x, y, start = x.double(), y.double(), w.double()
    factor = a.double() / math.sqrt(len(a))
    longest = STEP / torch.linalg.matrix_norm(hidden_kernel(start, x), 2).item()
    w, now, rows = start, times[0].item(), []
    for time in times.tolist():
        steps = math.ceil((time - now) / longest)
        for _ in range(steps):
            w = _runge_kutta(lambda v: _velocity(v, factor, x, y), w, (time - now) / steps)
        now = time
        rows.append(_state(w, start, factor, x, y))
    return TwoLayerFlow(times, *(torch.stack(column) for column in zip(*rows, strict=True)))


def _velocity(w: Tensor, factor: Tensor, x: Tensor, y: Tensor) -> Tensor:
    signals = w @ x.T  # (m, n)
    residual = factor @ torch.relu(signals) - y
    return -factor[:, None] * (((signals > 0) * residual) @ x)


def _runge_kutta(velocity: Callable[[Tensor], Tensor], w: Tensor, step: float) -> Tensor:
    first = velocity(w)
    second = velocity(w + step / 2 * first)
    third = velocity(w + step / 2 * second)
    fourth = velocity(w + step * third)
    return w + step / 6 * (first + 2 * second + 2 * third + fourth)


def _state(w: Tensor, start: Tensor, factor: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """What :class:`TwoLayerFlow` has of a time."""
    signals = w @ x.T
    residual = (factor @ torch.relu(signals) - y).norm()
    flipped = ((signals > 0) != (start @ x.T > 0)).double().mean()
    return residual, (w - start).norm(dim=1).max(), flipped, hidden_kernel(w, x)


def _check_norms(x: Tensor) -> None:
    if not torch.allclose(x.norm(dim=1), x.new_ones(()), rtol=1e-6, atol=0):
        raise ValueError("the inputs must have norm 1: divide them by theirs, torch.nn.functional.normalize(x)")
