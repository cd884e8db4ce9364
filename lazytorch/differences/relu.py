"""ReLU, of which other activation functions are composed: max(d + min(a, 0) / eps, -max(a, 0) / eps)."""

import torch

from .function import Function, once_differentiable
from .pair import in_range, rule

aten = torch.ops.aten


class Gated(Function):
    """A function of (epsilon, difference, ...) that saves a boolean gate: the gradient passes where it is open."""

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (gate,) = ctx.saved_tensors
        return None, gate * gradient, *(None,) * (len(ctx.needs_input_grad) - 2)


class _ReLU(Gated):
    """-min(max(-a, 0) - eps d, max(a, 0)) / eps; the unit is active at w where the first is smaller.

    At eps = 0, d where a > 0. ``out`` is relu(a). Nothing overflows, and only the result and the mask are allocated.
    """

    @staticmethod
    def forward(ctx, epsilon, d, a, out):
        if epsilon == 0:
            gate = a > 0
            result = d * gate
        else:
            result = torch.sub(out, a).sub_(d, alpha=epsilon)
            gate = result < out
            result = result.clamp_max_(out).mul_(-1 / epsilon)
        ctx.save_for_backward(gate)
        return result


@rule(aten.relu)
def relu(epsilon, out, x):
    return in_range(_ReLU.apply, epsilon, x.difference, x.primal, out)


def rectified(epsilon, x):
    """The difference of relu(x)."""
    return relu(epsilon, x.primal.relu(), x)
