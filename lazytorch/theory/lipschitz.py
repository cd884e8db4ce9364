"""The Lipschitz constant of a module's Jacobian: proved where it can be, estimated where not, refused at kinks."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..differences import Program
from ..functional import call, forward_differentiable, jvp

#: ATen's operators with kinks, where a Jacobian jumps.
KINKED = (
    *(
        "abs",
        "clamp",
        "clamp_max",
        "clamp_min",
        "elu",
        "hardshrink",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
    ),
    *(
        "prelu",
        "relu",
        "relu6",
        "rrelu_with_noise",
        "softshrink",
        "threshold",
        "ceil",
        "floor",
        "round",
        "sign",
        "trunc",
    ),
    *("amax", "amin", "fmax", "fmin", "kthvalue", "max", "maximum", "median", "min", "minimum", "sort", "topk"),
    *("adaptive_max_pool2d", "adaptive_max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices"),
)
ITERATIONS, GROWTH = 200, 1e-6


def check_smooth(net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Raise ValueError if what ``net`` computes from ``inputs`` and its parameters has kinks, naming the operator.

    Raises:
        UntraceableModule: ``net`` decides in Python by the values of tensors.
    """
    tensors = {name: t.detach() for name, t in (*net.named_parameters(), *net.named_buffers())}
    trainable = {name for name, p in net.named_parameters() if p.requires_grad}
    for node, _ in Program(net, tensors, inputs, {}).dependent(trainable):
        if getattr(getattr(node.target, "overloadpacket", None), "__name__", None) in KINKED:
            raise ValueError(
                f"{type(net).__name__} is not smooth: it calls {node.target} (in module "
                f"'{node.meta.get('module') or '(root)'}'), where the Jacobian jumps, so that no beta has |J_w - J_v| "
                "<= beta |w - v|: use a smooth activation, as tanh, softplus or gelu, and average pooling"
            )


def estimated_lipschitz(net: nn.Module, inputs: tuple[Tensor, ...], starts: int = 3, seed: int = 0) -> float:
    """A lower bound of every beta with |J_w - J_v|_op <= beta |w - v| around the weights w_0 of ``net``.

    |D^2 f(w_0)| = max q . D^2 f(w_0)[u, v] over unit q, u, v, with f the outputs on ``inputs``, stacked. Power
    iteration replaces each of the three in turn by its best for the other two, so that the value grows to a stationary
    one; of ``starts`` random ones the largest is taken. It may be below the maximum, and the maximum below beta, as
    D^2 f may be larger at other weights.

    Cost: tens of iterations a start, 200 at most, each about 16 forward passes of all inputs.
    """
    parameters = {name: p.detach() for name, p in net.named_parameters() if p.requires_grad}
    w_0 = torch.cat([p.flatten() for p in parameters.values()])

    def outputs(w: Tensor) -> Tensor:
        parts = w.split([p.numel() for p in parameters.values()])
        weights = {name: part.view_as(p) for (name, p), part in zip(parameters.items(), parts, strict=True)}
        return call(net, weights, inputs).flatten()

    def slope(u: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda w: jvp(outputs, (w,), (u,))[1]

    def best(q: Tensor, u: Tensor) -> Tensor:
        """The unit v with the largest q . D^2 f[u, v]."""
        return F.normalize(torch.func.vjp(slope(u), w_0)[1](q)[0], dim=0)

    def climbed(u: Tensor, v: Tensor) -> float:
        value = 0.0
        for _ in range(ITERATIONS):
            second = jvp(slope(u), (w_0,), (v,))[1]
            before, value = value, second.norm().item()
            if value <= before * (1 + GROWTH):
                break
            q = F.normalize(second, dim=0)
            u = best(q, v)
            v = best(q, u)
        return value

    generator = torch.Generator().manual_seed(seed)
    with forward_differentiable():
        return max(
            climbed(*2 * (F.normalize(torch.randn(w_0.shape, generator=generator).to(w_0), dim=0),))
            for _ in range(starts)
        )
