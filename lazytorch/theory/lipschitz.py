"""The Lipschitz constant of a module's Jacobian: proved where it can be, estimated where not, refused at kinks."""

import math

from torch import Tensor, nn

from ..differences import Program
from .kappa import second_norms

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

    |D^2 f(w_0)| = max q . D^2 f(w_0)[u, v] over unit q, u, v, with f the outputs (n, K) on ``inputs``, stacked: sqrt(n)
    times the norm in L2 that :func:`lazytorch.theory.kappa` finds, the largest of ``starts``. It may be below the
    maximum, and the maximum below beta, as D^2 f may be larger at other weights. Cost: as there.
    """
    return math.sqrt(len(inputs[0])) * max(second_norms(net, inputs, starts, seed))
