"""The tangent kernel of infinitely wide ReLU networks, by the arc-cosine recursion."""

import math

import torch
from torch import Tensor


def mlp_kernel(x1: Tensor, x2: Tensor | None = None, depth: int = 2, gain: float = 1.0, bias: bool = True) -> Tensor:
    """The limit, as width -> inf, of the tangent kernel of one output of ``lazytorch.models.mlp(width, depth, ...)``.

    That is a ReLU network with Xavier-normal weights times ``gain`` and biases 0: a weight between layers of a and b
    units has variance 2 gain^2 / (a + b), so with inputs and outputs held fixed the variances times the width go to
    c = 2 gain^2 for the first and the last layer and gain^2 for those between. The full kernel goes to this times the
    identity over outputs, in probability and at rate width^-1/2. With u, v ~ N(0, [[p, s], [s, q]]), where p, s and q
    are S_{l-1} at (x, x), (x, x') and (x', x'),

        S_0 = x . x',                       S_l = c_l E[relu(u) relu(v)]      (hidden layer l = 1 ... depth)
        T_0 = S_0 + b,                      T_l = S_l + b + c_{l+1} E[relu'(u) relu'(v)] T_{l-1}

    is the kernel T_depth, b = 1 where biases are trained (``bias``), else 0. With cos t = s / sqrt(p q) the
    expectations are sqrt(p q) (sin t + (pi - t) cos t) / (2 pi) and (pi - t) / (2 pi). ``depth=1, bias=False`` is
    ``lazytorch.models.two_layer``.

    Sources: Cho & Saul, "Kernel Methods for Deep Learning", NeurIPS 2009; Jacot, Gabriel & Hongler, "Neural Tangent
    Kernel", NeurIPS 2018. Accurate to sqrt(eps) of the inputs' type where inputs are nearly parallel.

    Args:
        x1: (n1, ...) inputs, flattened.
        x2: (n2, ...) inputs; None means x1.

        depth: the number of hidden layers, 0 or more.
        gain: the factor of the weights' Xavier-normal deviation.
        bias: whether biases are trained.

    Returns:
        (n1, n2), in the inputs' type. Cost: one product of the inputs and about 10 ``depth`` passes over (n1, n2).

    Raises:
        ValueError: a negative ``depth``, or inputs that are not real floating numbers of one type and size, (n, ...).
    """
    if depth < 0:
        raise ValueError(f"depth must be 0 or more, got {depth}: give the number of hidden layers")
    x1, x2 = _vectors(x1), _vectors(x1 if x2 is None else x2)
    if (x1.shape[1], x1.dtype) != (x2.shape[1], x2.dtype):
        raise ValueError(
            f"inputs of x1 are {x1.shape[1]} numbers of {x1.dtype}, those of x2 {x2.shape[1]} of {x2.dtype}: "
            "give alike ones"
        )
    # Of x1 with x2, of x1 and of x2 with themselves.
    cross, first, second = x1 @ x2.T, x1.square().sum(1), x2.square().sum(1)
    kernel = cross + bias
    for layer in range(1, depth + 1):
        variance = (2 if layer == 1 else 1) * gain**2
        following = (2 if layer == depth else 1) * gain**2
        scale = (first[:, None] * second).sqrt()
        cosine = torch.where(scale > 0, cross / scale, 0.0).clamp(-1, 1)
        angle = cosine.arccos()
        cross = variance * scale * (angle.sin() + (math.pi - angle) * cosine) / (2 * math.pi)
        first, second = variance * first / 2, variance * second / 2
        kernel = cross + bias + following * (math.pi - angle) / (2 * math.pi) * kernel
    return kernel


def _vectors(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor) or x.ndim < 2 or not x.is_floating_point():
        found = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"inputs are {found}: give a tensor (n, ...) of real floating numbers")
    return x.flatten(1)
