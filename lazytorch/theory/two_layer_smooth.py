"""A two-layer network of smooth neurons, for which the Lipschitz constant of the Jacobian is known."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Smooth(NamedTuple):
    """An activation sigma, and sup |sigma''|."""

    function: Callable[[Tensor], Tensor]
    curvature: float


SMOOTH = {
    "tanh": Smooth(torch.tanh, 4 / (3 * math.sqrt(3))),  # at tanh^2 = 1/3
    "sigmoid": Smooth(torch.sigmoid, 1 / (6 * math.sqrt(3))),  # tanh(z / 2) / 2 + 1/2
    "softplus": Smooth(F.softplus, 1 / 4),  # the sigmoid's slope at 0
    "gelu": Smooth(F.gelu, math.sqrt(2 / math.pi)),  # sigma'' = phi(z) (2 - z^2), at 0
    "sin": Smooth(torch.sin, 1.0),
}


class TwoLayerSmooth(nn.Module):
    """f(x) = c sum_i a_i sigma(w_i . x), the signs a_i = +-1 fixed: (n, d) to (n, 1).

    c = m^(-1/2) for m neurons, or 1 if not ``normalised`` (the f of lectures). ``weight`` (m, d), the w_i, is drawn
    from N(0, I) and alone is trained; ``signs`` (m,) are a buffer, drawn with equal chances. Both from torch's global
    generator.

    Args:
        inputs: d.
        neurons: m.
        activation: tanh, sigmoid, softplus, gelu or sin.
        normalised: whether c is m^(-1/2).

    Raises:
        ValueError: an ``activation`` that is none of these.
    """

    signs: Tensor

    def __init__(self, inputs: int, neurons: int, activation: str = "tanh", normalised: bool = True):
        super().__init__()
        if activation not in SMOOTH:
            raise ValueError(f"activation {activation!r} has no known curvature: choose one of {', '.join(SMOOTH)}")
        self.activation, self.scale = activation, neurons**-0.5 if normalised else 1.0
        self.weight = nn.Parameter(torch.randn(neurons, inputs))
        self.register_buffer("signs", 2.0 * torch.randint(2, (neurons,)) - 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, d) to (n, 1)."""
        return self.scale * SMOOTH[self.activation].function(x @ self.weight.T) @ self.signs[:, None]

    def jacobian_lipschitz(self, x: Tensor) -> float:
        """beta with |J_w - J_v|_op <= beta |w - v| for all w, v, J (n x m d) the Jacobian on ``x`` (n, d).

        beta = c sup|sigma''| |D X|_op, D = diag |x_j|, X with the rows x_j. The block of neuron i in row j of J_w - J_v
        is c a_i (sigma'(w_i . x_j) - sigma'(v_i . x_j)) x_j, so with M = sup|sigma''|

            |J_w - J_v|_F^2 <= c^2 M^2 sum_ij |x_j|^2 ((w_i - v_i) . x_j)^2 = c^2 M^2 sum_i |D X (w_i - v_i)|^2.

        |D X|_op is at most sqrt(sum_j |x_j|^4), its Frobenius norm, and at most |X|_op max_j |x_j|: both are printed.
        """
        x = x.detach().double()
        weighted = torch.linalg.vector_norm(x, dim=1, keepdim=True) * x
        return self.scale * SMOOTH[self.activation].curvature * torch.linalg.matrix_norm(weighted, 2).item()

    def extra_repr(self) -> str:
        return f"inputs={self.weight.shape[1]}, neurons={len(self.weight)}, activation={self.activation}"
