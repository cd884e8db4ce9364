"""ReLU, of which other activation functions are composed: max(d + min(a, 0) / eps, -max(a, 0) / eps)."""

import torch
from torch import Tensor

from .function import Function, add, once_differentiable
from .pair import ROUNDINGS, Discrete, Pair, Placed, primal, rule, varies

aten = torch.ops.aten


class _ReLU(Function):
    """(the difference, relu(b) for b = a + eps d), the latter None at eps = 0; ``out`` is relu(a).

    With q = min(relu(a) - b, relu(a)), what is lost on the way, they are -q / eps and relu(a) - q, which is 0 exactly
    where b <= 0; at eps = 0, d where a > 0. Nothing overflows.
    """

    @staticmethod
    def forward(ctx, epsilon, d, a, out):
        if epsilon == 0:
            ctx.save_for_backward(out)
            return aten.threshold_backward(d, out, 0), None
        lost = add(torch.sub(out, a), d, -epsilon).clamp_max_(out)
        at_w = out - lost
        ctx.save_for_backward(at_w)
        ctx.mark_non_differentiable(at_w)
        ctx.set_materialize_grads(False)
        return lost.mul_(-1 / epsilon), at_w

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, _):
        return None, aten.threshold_backward(gradient, *ctx.saved_tensors, 0), None, None


@rule(aten.relu)
def relu(epsilon, out, x):
    """The pair, as its value at w is at hand."""
    a, d = x
    if a.dtype == torch.float16:  # whose range eps d leaves
        return _ReLU.apply(epsilon, d.float(), a.float(), out.float())[0].half()
    difference, at_w = _ReLU.apply(epsilon, d, a, out)
    return difference if at_w is None else Placed(Pair(out, difference), epsilon, at_w)


def rectified(epsilon, x):
    """The difference of relu(x)."""
    result = relu(epsilon, x.primal.relu(), x)
    return result.difference if isinstance(result, Pair) else result


@torch.no_grad()
def active(x, epsilon: float) -> tuple[Tensor, Tensor]:
    """Where x > 0 at w_0 and at w, where a + eps d that is 0 but for its rounding (of a unit that has died) is not.

    The sum is not formed, as it may underflow.
    """
    start = primal(x) > 0
    if epsilon == 0 or not varies(x):
        return start, start
    if isinstance(x, Discrete):
        return start, x.final > 0
    a, d = (t.float() if t.dtype == torch.float16 else t for t in x)
    move = epsilon * d
    return start, a > (ROUNDINGS * torch.finfo(move.dtype).eps * move.abs()).sub_(move)
