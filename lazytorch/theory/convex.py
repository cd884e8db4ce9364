"""(Sub)gradient descent of constant step on convex functions of one variable, in closed form.

Sums of functions of separate variables decouple: x^2 / 2 + 1e-5 y^2 / 2 and x^2 / 2 + |y| are two of these each.
"""

import math

from torch import Tensor


def descend_quadratic(start: float, lr: float, steps: Tensor, curvature: float = 1.0) -> Tensor:
    """w_t of ``curvature`` w^2 / 2: (1 - lr curvature)^t w_0, at the (T,) ``steps`` t."""
    return start * (1 - lr * curvature) ** steps.double()


def descend_absolute(start: float, lr: float, steps: Tensor, slope: float = 1.0) -> Tensor:
    """w_t of G |w|, G the ``slope``: a walk of k = floor(|w_0| / lr G) steps of lr G, then r, r - lr G, r, ...

    with r < lr G what is left of |w_0|, so that |w_t| < lr G from there on and the function is at most lr G^2: within
    epsilon of its minimum for the step epsilon / G^2. Erratum: G / epsilon is printed, which ends as far as G^3 /
    epsilon above it. The general bound agrees: the mean of the first T values is at most w_0^2 / (2 lr T) + lr G^2 / 2,
    which is epsilon for that step at T = w_0^2 G^2 / epsilon^2.
    """
    stride = lr * slope
    walked = math.floor(abs(start) / stride)
    left = abs(start) - walked * stride
    steps = steps.double()
    back = (left > 0) * stride * ((steps - walked).clamp(min=0) % 2)
    return math.copysign(1, start) * (abs(start) - steps.clamp(max=walked) * stride - back)


def descend_huber(start: float, lr: float, steps: Tensor, threshold: float = 1.0) -> Tensor:
    """w_t of Huber's function, w^2 / 2 up to |w| = ``threshold`` and threshold (|w| - threshold / 2) beyond, lr <= 1.

    k = ceil((|w_0| - threshold) / (lr threshold)) steps of lr threshold, then (1 - lr)^(t - k).
    """
    stride = lr * threshold
    walked = max(0, math.ceil((abs(start) - threshold) / stride))
    steps = steps.double()
    far = abs(start) - steps.clamp(max=walked) * stride
    return math.copysign(1, start) * far * (1 - lr) ** (steps - walked).clamp(min=0)
