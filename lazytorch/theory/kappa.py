"""The laziness criterion kappa of Chizat, Oyallon & Bach: how curved a model is on the way to its targets."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..anchored import Anchored
from ..functional import in_precision
from ..kernels import kernel_operator, top_eigenpairs
from ..kernels.tangent import as_inputs
from .differentials import Differentials
from .linear_dynamics import as_outputs

ITERATIONS = 200
GROWTH = 1e-5  # of the norm in an iteration, below which a start is at its end


@dataclass(frozen=True)
class Kappa:
    """The criterion and its factors, in L2 of the empirical measure.

    Attributes:
        kappa: residual * second / first^2.
        residual: |h(w) - y|.
        first: |Dh(w)|.
        second: |D^2 h(w)|, the largest value that any start has come to.
        spread: (largest - smallest) / largest of what the starts have come to: where it is not small, the landscape has
            several maxima, and the largest found need not be the largest there is.
        is_lower_bound: whether ``second``, and with it ``kappa``, is a lower bound: always, unless both are 0 because
            the model is linear in its parameters (alpha = inf).
    """

    kappa: float
    residual: float
    first: float
    second: float
    spread: float
    is_lower_bound: bool


def kappa(net: nn.Module, x: Tensor | tuple[Tensor, ...], y: Tensor, starts: int = 5, seed: int = 0) -> Kappa:
    """kappa(w) = |h(w) - y| |D^2 h(w)| / |Dh(w)|^2 of ``net`` at its weights: training is lazy where it is << 1.

    h maps the trainable parameters to the outputs on ``x``, in L2 of the empirical measure, |z|^2 = sum_i |z_i|^2 / n;
    the norms of the differentials are operator norms, |D^2 h| = max |D^2 h(u, v)| over unit u and v. A step of length
    |h - y| / |Dh|, the shortest with which the linearized model can fit, changes Dh by kappa |Dh| at most, to first
    order. kappa is the same in w and in any multiple of w. Of alpha h it is kappa / alpha if h(w) = 0, else it goes to
    |h(w)| |D^2 h(w)| / |Dh(w)|^2 as alpha grows. A :class:`lazytorch.CenteredModel` is taken as the function of theta
    that it is: its kappa at theta = 0 is |y| |D^2 f(w_0)| / (alpha |Df(w_0)|^2), and 0 at alpha = inf.

    |Dh| is exact (Lanczos). |D^2 h| is a **lower bound**, the largest that ``starts`` random starts come to: from
    u = v, the steps c = D^2 h(u, v), u = B_c v and v = B_c u, normalised, with B_c = D^2 (c . h), maximise
    c . D^2 h(u, v) in one of the three each, so that it grows until it is stationary, at a maximum that need not be the
    largest; to find that is NP-hard in general. Of ReLU networks D^2 h is meant almost everywhere, which leaves the
    terms between layers.

    In float64 and evaluation mode, on a copy. Cost: some tens of products with J J^T, and for each start at most 200
    times second derivatives worth about 24 forward passes; some tens are usual, until an iteration adds less
    than 1e-5. Memory: that of :class:`lazytorch.kernels.Jacobian`.

    Args:
        net: any module whose examples do not interact, or a CenteredModel, or a linearized one.
        x: (n, ...) inputs, or a tuple of such tensors, which are the arguments of ``net``.
        y: targets in the shape of the outputs, or (n,) integer labels, which become one-hot targets.
        starts: how many.
        seed: of the starts, which leave torch's generators as they are.

    Raises:
        ValueError: ``starts`` below 1, targets of another shape, Dh = 0, or as :class:`lazytorch.kernels.Jacobian`.
        RuntimeError: torch cannot differentiate an operator in ``net`` twice.

    Source: Chizat, Oyallon & Bach, "On Lazy Training in Differentiable Programming", NeurIPS 2019, section 1.2.
    """
    if starts < 1:
        raise ValueError(f"starts must be 1 or more, got {starts}: 5 are usual")
    net = copy.deepcopy(net)._apply(lambda t: in_precision(t, torch.float64)).eval()
    epsilon, module = (net.epsilon, net.to_module()) if isinstance(net, Anchored) else (1.0, net)
    residual, first = residual_norm(net, x, y), first_norm(module, x)
    if first == 0:
        raise ValueError(f"Dh = 0: the outputs of {type(module).__name__} move with none of its trainable parameters")
    found = second_norms(module, x, starts, seed) if epsilon > 0 else [0.0]
    second = epsilon * max(found)
    spread = 1 - min(found) / max(found) if second > 0 else 0.0
    return Kappa(residual * second / first**2, residual, first, second, spread, is_lower_bound=epsilon > 0)


@torch.no_grad()
def residual_norm(net: nn.Module, x: Tensor | tuple[Tensor, ...], y: Tensor) -> float:
    """|h(w) - y| in L2 of the empirical measure, for ``net`` in float64."""
    outputs = net(*as_inputs(x, torch.float64)).flatten(1)
    targets = as_outputs("y", y.flatten(1) if y.ndim > 2 else y, *outputs.shape)
    return ((outputs - targets).norm() / math.sqrt(len(outputs))).item()


def first_norm(net: nn.Module, x: Tensor | tuple[Tensor, ...], weights: dict[str, Tensor] | None = None) -> float:
    """|Dh(w)| = s_max(J) / sqrt(n), in L2 of the empirical measure, at the module's own or other ``weights``; exact."""
    operator = kernel_operator(net, x, weights=weights)
    return math.sqrt(max(0.0, top_eigenpairs(operator, 1)[0].item()) / _count(x))


def second_norms(
    net: nn.Module,
    x: Tensor | tuple[Tensor, ...],
    starts: int,
    seed: int = 0,
    weights: dict[str, Tensor] | None = None,
) -> list[float]:
    """What each start comes to: lower bounds of |D^2 h(w)| = max |D^2 h(w)(u, v)|, as :func:`kappa` finds them."""
    differentials, generator = Differentials(net, x, weights), np.random.default_rng(seed)
    size = differentials.shape[1]
    return [_ascent(differentials, generator.standard_normal(size)) / math.sqrt(_count(x)) for _ in range(starts)]


def _ascent(differentials: Differentials, start: np.ndarray) -> float:
    u = v = start / np.linalg.norm(start)
    value = 0.0
    for _ in range(ITERATIONS):
        c = differentials.second(u, v)
        previous, value = value, float(np.linalg.norm(c))
        if value <= (1 + GROWTH) * previous:  # 0 too
            break
        matrix = differentials.contracted(c / value)
        u = _unit(matrix.matvec(v))
        v = _unit(matrix.matvec(u))
    return value


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def _count(x: Tensor | tuple[Tensor, ...]) -> int:
    return len(x[0] if isinstance(x, tuple) else x)
