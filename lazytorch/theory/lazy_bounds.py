"""The theorem of lazy training: its threshold and its bounds, from the Jacobian of a module and its targets."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..anchored import Anchored
from ..functional import in_precision
from ..kernels import Jacobian
from ..kernels.tangent import as_inputs
from .linear_dynamics import as_outputs
from .lipschitz import check_smooth, estimated_lipschitz
from .two_layer_smooth import TwoLayerSmooth

LEAST_RATIO = 1e-10  # of s_min to s_max, below which s_min is rounding


@dataclass(frozen=True)
class LazyBounds:
    """What the theorem of lazy training promises, from the four numbers that it needs.

    The loss is L(z) = |z - y|^2 / 2, summed over all n K numbers, and the model alpha f, trained by gradient flow. J,
    (n K x P), is the Jacobian of f at w_0, of full rank n K <= P, with singular values in [s_min, s_max]; L_0 =
    L(alpha f(w_0)); and |J_w - J_v|_op <= beta |w - v|. In scaled coordinates theta = alpha (w - w_0) and time
    s = alpha^2 t the flow is dtheta/ds = -J_w^T r, with r = alpha f(w) - y, so that dL/ds = -|J_w^T r|^2.

    1. The corridor. While |w - w_0| <= s_min / (2 beta), J_w differs from J by at most s_min / 2 in operator norm, so
       its singular values are in [s_min / 2, s_max + s_min / 2], which is in [s_min / 2, 3 s_max / 2].
    2. The loss. There dL/ds <= -2 (s_min / 2)^2 L, hence L <= L_0 exp(-s_min^2 s / 2).
    3. The path. There |dtheta/ds| <= (3 s_max / 2) sqrt(2 L) <= (3 s_max / 2) sqrt(2 L_0) exp(-s_min^2 s / 4), whose
       integral is 6 sqrt(2) s_max sqrt(L_0) / s_min^2. That over alpha bounds |w - w_0|.
    4. The threshold. If 6 sqrt(2) s_max sqrt(L_0) / (alpha s_min^2) < s_min / (2 beta), that is, alpha > alpha* =
       12 sqrt(2) beta s_max sqrt(L_0) / s_min^3, the flow never reaches the end of the corridor, and 1 to 3 hold for
       all times.
    5. The linearization has the corridor [s_min, s_max] everywhere. The same steps give L <= L_0 exp(-2 s_min^2 s) and
       |u - w_0| <= sqrt(2) s_max sqrt(L_0) / (alpha s_min^2), for every alpha and whatever beta.

    Errata: the 3 sqrt(8 s_max^2 L_0) and 6 beta sqrt(8 s_max^2 L_0) of some notes are these constants; notes that drop
    sqrt(2), L_0 or s_max in places are wrong by these factors.

    Attributes:
        s_min, s_max: the smallest and the largest of the n K singular values of J.
        initial_loss: L_0.
        beta: the Lipschitz constant of J.
        beta_source: where it is from: "proved", "given", or "estimated", a lower bound that proves nothing.
        shape: (n K, P).
    """

    s_min: float
    s_max: float
    initial_loss: float
    beta: float
    beta_source: str
    shape: tuple[int, int]

    @property
    def threshold(self) -> float:
        """alpha*."""
        return 12 * math.sqrt(2 * self.initial_loss) * self.beta * self.s_max / self.s_min**3

    @property
    def radius(self) -> float:
        """s_min / (2 beta), where the corridor ends; inf if J is constant."""
        return self.s_min / (2 * self.beta) if self.beta > 0 else math.inf

    @property
    def corridor(self) -> tuple[float, float]:
        """Bounds of the singular values of J_w."""
        return self.s_min / 2, 3 * self.s_max / 2

    def loss(self, s: Tensor) -> Tensor:
        """The bound of L at times ``s``."""
        return self.initial_loss * torch.exp(-(self.s_min**2) * s / 2)

    def displacement(self, alpha: float) -> float:
        """The bound of |w - w_0|."""
        return 6 * math.sqrt(2 * self.initial_loss) * self.s_max / (alpha * self.s_min**2)

    def linear_loss(self, s: Tensor) -> Tensor:
        """The bound of the linearization's L at times ``s``."""
        return self.initial_loss * torch.exp(-2 * self.s_min**2 * s)

    def linear_displacement(self, alpha: float) -> float:
        """The bound of |u - w_0|, u the weights of the linearization."""
        return math.sqrt(2 * self.initial_loss) * self.s_max / (alpha * self.s_min**2)


def lazy_bounds(net: nn.Module, x: Tensor | tuple[Tensor, ...], y: Tensor, beta: float | None = None) -> LazyBounds:
    """The numbers of the theorem for the centered model alpha (f(w) - f(w_0)), f the module ``net``: L_0 = |y|^2 / 2.

    beta is proved for a :class:`TwoLayerSmooth`; for any other module it is estimated by power iteration on the second
    differential at w_0, a lower bound (:func:`.lipschitz.estimated_lipschitz`), unless it is given.

    In float64 and evaluation mode, on a copy. The arguments are those of :func:`certify`.

    Cost: the Jacobian, formed, by n K backward passes, and its singular values; the estimate. Memory: n K P numbers.

    Raises:
        ValueError: the Jacobian has not full rank (n K > P, or inputs whose rows are dependent), there are kinks (ReLU,
            max pooling), targets that are 0 or of another shape, a negative beta, or as
            :class:`lazytorch.kernels.Jacobian`.
        UntraceableModule: ``net`` decides in Python by the values of tensors.
    """
    if beta is not None and not 0 <= beta < math.inf:
        raise ValueError(f"beta = {beta} is no Lipschitz constant: give a number from 0 on, or None")
    net, inputs = in_double(net, x)
    check_smooth(net, inputs)
    initial = jacobian(net, inputs)
    rows, columns = initial.shape
    s_min, s_max = extreme_values(initial)
    if s_min <= LEAST_RATIO * s_max:
        rank = f"at most {columns}" if rows > columns else f"below {rows}"
        raise ValueError(
            f"the Jacobian, n K x P = {rows} x {columns}, has rank {rank}, but the theorem's hypothesis is rank n K = "
            f"{rows}: give fewer inputs, none of them twice, or a network with more parameters"
        )
    targets = as_outputs("y", y, len(inputs[0]), rows // len(inputs[0])).double()
    if not targets.any():
        raise ValueError("the targets y are 0, where the centered model starts: there is nothing to train")
    if beta is not None:
        source = "given"
    elif isinstance(net, TwoLayerSmooth):
        beta, source = net.jacobian_lipschitz(*inputs), "proved"
    else:
        beta, source = estimated_lipschitz(net, inputs), "estimated"
    return LazyBounds(s_min, s_max, targets.square().sum().item() / 2, beta, source, (rows, columns))


def in_double(net: nn.Module, x: Tensor | tuple[Tensor, ...]) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A copy of ``net`` in float64 and evaluation mode, and its inputs in float64 on its device.

    Raises:
        TypeError: ``net`` is a CenteredModel.
    """
    if isinstance(net, Anchored):
        raise TypeError(f"net is a {type(net).__name__}: give the module that it wraps, and alpha")
    net = copy.deepcopy(net)._apply(lambda t: in_precision(t, torch.float64)).eval()
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    return net, tuple(t.to(device) for t in as_inputs(x, torch.float64))


def jacobian(net: nn.Module, inputs: tuple[Tensor, ...], weights: dict[str, Tensor] | None = None) -> Tensor:
    """(n K, P), formed, on the CPU."""
    operator = Jacobian(net, inputs, weights)
    return torch.from_numpy(operator.T @ np.eye(operator.shape[0])).T


def extreme_values(jacobian: Tensor) -> tuple[float, float]:
    """The smallest and the largest of n K singular values, of which those beyond P are 0."""
    values = torch.linalg.svdvals(jacobian)
    return 0.0 if len(values) < len(jacobian) else values[-1].item(), values[0].item()
