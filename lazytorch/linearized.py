"""The linearization of a module at its weights, x -> J(w_0) theta, by forward-mode differentiation."""

import copy
import functools
from contextlib import suppress

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .anchored import Anchored
from .differences import Pair
from .differences.decisions import READS
from .differences.derivative import has_gradient_of
from .differences.pair import is_continuous
from .differences.trace import UntraceableModule
from .functional import LOCK, call, forward_differentiable, jvp, kept_tensors
from .signature import Latest, arguments_of, signature_of, state_of
from .traces import Traces
from .transforms import check_export, in_batches_of, outside


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

    Where torch has no forward-mode formula for something in the module (LSTM, custom operators, roi_align), jvp raises
    or gives 0; where the module stops gradients (``detach``, ``no_grad``) or keeps tensors from call to call, it gives
    another model. So at the first call of each signature the gradient of jvp is held against the module's own, for a
    random cotangent (two passes more, with their gradients); if they disagree, or the module does such a thing, it is
    traced, and from then on run as the alpha = inf :class:`CenteredModel` runs it.

    Buffers that training updates (batch norm's running statistics) are those of w_0 and not differentiated; the
    alpha = inf :class:`CenteredModel` differentiates them too.

    Raises:
        UntraceableModule, UnsupportedOperator: (first call) jvp will not do, and nor will a trace.
        RuntimeError: an input requires a gradient, which forward mode gets wrong through a layer norm.
    """

    def __init__(self, net: nn.Module, centered: bool = True):
        super().__init__(net, torch.inf)
        self.centered = centered
        self._usable, self._traces = Latest(), Traces()  # by signature: whether jvp will do; and if not

    def _checked(self, alpha: float) -> float:
        alpha = super()._checked(alpha)
        if alpha != torch.inf:
            raise ValueError(f"a linearized model has alpha = inf, not {alpha:g}: wrap with CenteredModel(net, alpha)")
        return alpha

    def forward(self, *args, **kwargs):
        """J(args; w_0) theta (plus f(args; w_0) unless centered), in the structure of the network's output."""
        arguments = arguments_of(args, kwargs)
        if torch.is_grad_enabled() and any(t.requires_grad for t in arguments.inputs):
            raise RuntimeError(
                "an input of a linearized model requires a gradient, which torch's forward mode does not give reliably "
                '(not in a layer norm): detach it, or use CenteredModel(net, alpha, difference="direct") in float64'
            )
        key = signature_of(self.structure, self._initial(), arguments), state_of(self.structure)
        if key not in self._usable:
            with LOCK:  # another thread's pass would have its own tensors in the structure
                self._usable[key] = self._jvp_is_right(args, kwargs)
        output, tangent = (self._forward_mode if self._usable[key] else self._traced)(args, kwargs)
        return tangent if self.centered else pytree.tree_map(_add, output, tangent)

    def _forward_mode(self, args, kwargs):
        initial, theta = self._initial(), self.theta()
        start = {name: initial.pop(name) for name in theta}

        def function(weights):
            # Training updates buffers in place: copies receive it inside jvp, the registered ones afterwards.
            copies = {name: constant.clone() for name, constant in initial.items()}
            outputs = call(self.structure, weights | copies, args, kwargs)
            return outputs, {name: copy for name, copy in copies.items() if copy._version}

        with forward_differentiable():
            output, tangent, updated = jvp(function, (start,), (theta,), has_aux=True)
        with torch.no_grad():
            for name, new in updated.items():
                initial[name].copy_(new)
        return output, tangent

    def _traced(self, args, kwargs):
        arguments = arguments_of(*in_batches_of(self.theta.values(), (args, kwargs)))
        program, theta = self._traces.find(self.structure, self._initial(), arguments), self.theta()
        program.check_dependence(set(theta))
        pairs = [Pair(t, theta[name]) if name in theta else t for name, t in self._initial().items()]
        leaves, spec = pytree.tree_flatten(
            program(0.0, pairs, arguments.inputs), is_leaf=lambda leaf: isinstance(leaf, Pair)
        )
        values = [leaf.primal if isinstance(leaf, Pair) else leaf for leaf in leaves]
        tangents = [leaf.difference if isinstance(leaf, Pair) else _no_tangent(leaf) for leaf in leaves]
        return pytree.tree_unflatten(values, spec), pytree.tree_unflatten(tangents, spec)

    def _jvp_is_right(self, args, kwargs) -> bool:
        """Tried on a copy, which leaves module, buffers, arguments and generators as they are."""
        check_export()
        with outside(self._initial(), args, kwargs) as example:
            return self._jvp_is_right_for(*example)

    def _jvp_is_right_for(self, initial, args, kwargs) -> bool:
        net, names, stops = copy.deepcopy(self.structure), list(self.theta), _Stops()

        def function(*weights):
            tensors = {name: t.clone() for name, t in initial.items()} | dict(zip(names, weights, strict=True))
            own_args, own_kwargs = pytree.tree_map_only(Tensor, Tensor.clone, (args, kwargs))
            with stops:
                return call(net, tensors, own_args, own_kwargs)

        before = list(map(id, kept_tensors(net)))
        with forward_differentiable():
            right = has_gradient_of(function, [initial[name] for name in names], _tangents)
        if stops.decides and right:  # otherwise perhaps at another call: a trace has guards, where it can be made
            with suppress(UntraceableModule):
                self._traces.find(self.structure, initial, arguments_of(args, kwargs))
                return False
        return right and not stops.found and list(map(id, kept_tensors(net))) == before


class _Stops(TorchFunctionMode):
    """Notes whether a gradient is stopped, by detach or by computing without gradients from what has one.

    And where a tangent that forward mode loses, see :func:`_extremes_lose`; and whether Python decides by values.
    """

    DETACH = (Tensor.detach, Tensor.detach_, torch.detach, torch.detach_, Tensor.data.__get__)  # type: ignore[attr-defined]

    def __init__(self):
        super().__init__()
        self.found = self.decides = False
        self.lossy = ("maximum", "minimum", "max", "min", "fmax", "fmin") if _extremes_lose() else ()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.decides = self.decides or function in READS
        self.found = self.found or getattr(function, "__name__", "") in self.lossy
        if not self.found and (function in self.DETACH or not torch.is_grad_enabled()):
            of_values = isinstance(result, Tensor) and is_continuous(result)
            leaves = pytree.tree_leaves((args, kwargs)) if of_values else ()
            self.found = any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves)
        return result


@functools.cache
def _extremes_lose() -> bool:
    """Whether the tangent of the larger of two numbers loses its digits beside that of the other, as in torch 2.6."""
    zero, one, large = torch.tensor([0.0, 1.0, 1e20], device="cpu").unbind()
    return jvp(torch.maximum, (one, zero), (one, large))[1].item() != 1


def _tangents(function, primals, directions):
    return jvp(function, primals, directions)[1]


def _no_tangent(leaf):
    return torch.zeros_like(leaf) if isinstance(leaf, Tensor) and is_continuous(leaf) else leaf


def _add(output, tangent):
    return output + tangent if isinstance(output, Tensor) and is_continuous(output) else output
