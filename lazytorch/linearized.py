"""The linearization of a module at its weights, x -> J(w_0) theta, by forward-mode differentiation."""

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from .anchored import Anchored
from .differences.pair import is_continuous
from .functional import call, forward_differentiable, jvp


def linearize(net: nn.Module, centered: bool = True) -> "LinearizedModel":
    """The tangent model of ``net`` at its weights w_0: x -> J(x; w_0) theta, or f(x; w_0) + J(x; w_0) theta.

    The centered form is the alpha = inf member of the :class:`CenteredModel` family: theta is the scaled displacement,
    the limit of alpha (w - w_0) as w goes to w_0. So the weights stay at w_0 whatever theta is: ``to_module`` and
    ``weights`` give w_0, ``displacement`` is 0. (The network at w_0 + theta is that of ``CenteredModel(net, 1.0)``.)
    Raises TypeError or ValueError as :class:`Anchored` does.
    """
    return LinearizedModel(net, centered)


class LinearizedModel(Anchored):
    """See :func:`linearize`. A forward pass is one ``torch.func.jvp`` (about 3 forward passes of the network).

    Buffers that training updates (batch norm's running statistics) are those of w_0 and not differentiated; the
    alpha = inf :class:`CenteredModel` differentiates them too.
    """

    def __init__(self, net: nn.Module, centered: bool = True):
        super().__init__(net, torch.inf)
        self.centered = centered

    def _checked(self, alpha: float) -> float:
        alpha = super()._checked(alpha)
        if alpha != torch.inf:
            raise ValueError(f"a linearized model has alpha = inf, not {alpha:g}: wrap with CenteredModel(net, alpha)")
        return alpha

    def forward(self, *args, **kwargs):
        """J(args; w_0) theta (plus f(args; w_0) unless centered), in the structure of the network's output."""
        initial, theta = self._initial(), self.theta
        start = {name: initial.pop(name) for name in theta}

        def function(weights):
            # Training updates buffers in place: copies receive it inside jvp, the registered ones afterwards.
            copies = {name: constant.clone() for name, constant in initial.items()}
            return call(self.structure, weights | copies, args, kwargs), copies

        with forward_differentiable():
            output, tangent, updated = jvp(function, (start,), (theta,), has_aux=True)
        with torch.no_grad():
            for name, new in updated.items():
                initial[name].copy_(new)
        return tangent if self.centered else pytree.tree_map(_add, output, tangent)


def _add(output, tangent):
    return output + tangent if isinstance(output, Tensor) and is_continuous(output) else output
