"""The centered, scaled model alpha (f(w) - f(w_0)) in scaled coordinates theta = alpha (w - w_0)."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from .anchored import Anchored, Tensors
from .compiled import Backend, applies, output_difference, run_compiled
from .differences import Pair, Program
from .differences.pair import is_continuous, varies
from .differences.program import Observer
from .functional import call, forward_differentiable, read
from .joint import differentiate_compiled
from .noise import LARGEST_NOISE, Coarsest
from .signature import Arguments, Latest, arguments_of, signature_of
from .traces import Programs, Traces
from .transforms import exporting, in_batches_of, outside


class CenteredModel(Anchored):
    """x -> alpha (f(x; w_0 + theta / alpha) - f(x; w_0)), for any module f and any alpha in (0, inf].

    With eps = 1 / alpha this is the divided difference D_eps f(x; theta) = [f(x; w_0 + eps theta) - f(x; w_0)] / eps,
    computed by propagating pairs (value at w_0, divided difference) through f: nothing is subtracted, so float32 is
    accurate at every alpha, and alpha = inf is the linearized model J(w_0) theta.

    For alpha <= 1 the traced operators run at w_0 and at w, and the outputs are subtracted: a pair's value at w is the
    sum a + eps d, which cancels where w is far from w_0, while the subtraction loses no more than a rounding of f, as
    in plain training. So no rule is needed there, and the error, relative to the output, is rounding times
    |f(w)| / |f(w) - f(w_0)|: more than that of pairs while w is near w_0, less once |w - w_0| exceeds |w_0|.

    Products are as exact as torch's settings say, whose default lets convolutions on CUDA devices use TF32: that leaves
    three digits of the result. :class:`Trainer` has it off unless asked for.

    A step of SGD of size eta on theta for R(model(x)) is exactly the step of size eta on w for R(alpha h(w)) / alpha^2
    (Chizat, Oyallon & Bach 2019, section 1.1). That holds for optimizers that are linear in the gradient: Adam, and
    clipping, act differently on theta; weight decay pulls w to w_0.

    ``difference="direct"`` subtracts two forward passes instead, for modules that cannot be traced: use it in float64
    (``net.double()``); the error is about rounding times alpha, and alpha must be finite. ``alpha`` may be assigned.

    The output has the structure and shape of ``net(x)`` and is exactly 0 at the start; what is integer or boolean in it
    is that of f(x; w). Buffers that training updates (batch norm's) are kept for both weights, each updated with its
    own statistics; random operators are drawn once for both. Cost of a training step: 5 forward passes of f (4 for
    alpha <= 1) where a plain step is 3; at finite alpha w is in memory besides, from the forward pass to the end of the
    backward pass. The module is traced once per input signature and mode (fractions of a second).

    Raises:
        TypeError, ValueError: see :class:`Anchored`; also an unknown ``difference``, or "direct" at alpha = inf, or
            (first call) where rounding in the module would be more than a hundredth of what it subtracts.
        UnsupportedOperator: (first call) an operator has no rule, at finite alpha > 1 (a random operator at any
            finite alpha); names operator, module and remedy.
        UntraceableModule: (first call) Python control flow depends on values of theta, other than skipping what it
            does not select.
        RuntimeError: an input requires a gradient, which differences do not carry: use "direct"; or the gradient is
            to be differentiated again (``create_graph=True``): use "direct", or :func:`linearize` at alpha = inf.
    """

    difference = "divided"

    def __init__(self, net: nn.Module, alpha: float, difference: str = "divided"):
        super().__init__(net, alpha)
        if difference not in ("divided", "direct"):
            raise ValueError(f'difference must be "divided" or "direct", got {difference!r}')
        self.difference = difference
        self.alpha = alpha  # once more, for what this difference allows
        self._traces, self._usable = Traces(), Programs()  # of them, those that have rules for what theta moves
        self._roundings = Latest()  # the same, of what "direct" subtracts
        # Buffers whose divided difference may not be 0; the others are constants.
        self._updated: set[str] = set()
        self._observer: tuple[Observer] | tuple[()] = ()  # in a tuple, as it may be a module
        self._record: dict | None = None  # of what is computed at w_0, while it is shared
        self._backend: Backend | None = None  # of torch.compile
        self.register_load_state_dict_post_hook(_find_updated)

    def _checked(self, alpha: float) -> float:
        alpha = super()._checked(alpha)
        if alpha == math.inf and self.difference == "direct":
            raise ValueError('difference="direct" has no limit alpha = inf: use difference="divided"')
        return alpha

    def forward(self, *args, **kwargs):
        """alpha (f(args; w) - f(args; w_0)), in the structure of f's output."""
        if self.difference == "direct":
            return self._direct(args, kwargs)
        return self._divided(args, kwargs)  # pyright: ignore[reportCallIssue]

    def share_start(self, other: "CenteredModel") -> None:
        """Take the tensors of w_0, its buffers and the traces from ``other``, whose values must be the same."""
        if self._traces is not other._traces:
            self._traces, self._usable = other._traces, Programs()
        self._modules["initial"] = other._modules["initial"]

    def share_traces(self, traces: Traces | None) -> Traces:
        """Take the ``traces`` that a copy of the same module has returned here, if any, and return this model's."""
        if traces is not None:
            self._traces, self._usable = traces, Programs()
        return self._traces

    def own_start(self) -> None:
        """Take a copy of the tensors of w_0 and its buffers, which other models may change from here on."""
        self._modules["initial"] = copy.deepcopy(self._modules["initial"])

    def own_buffers(self) -> None:
        """As :meth:`own_start`, of the buffers alone, which training changes."""
        buffers = self.initial_buffers()
        self._modules["initial"] = Tensors({k: t.clone() if k in buffers else t for k, t in self._initial().items()})

    def forward_recorded(self, record: dict, *args, **kwargs):
        """As a call of the model; models that share their start and are given one ``record`` compute it once."""
        self._record = record
        try:
            return self(*args, **kwargs)
        finally:
            self._record = None

    @torch.compiler.disable  # a trace already; dynamo would only break it into pieces
    def _divided(self, args, kwargs):
        program, initial, differences, inputs = self._prepared(args, kwargs)
        with _without_autocast(next(iter(initial.values())).device.type):
            if (backend := self._backend_here) is not None:
                return run_compiled(program, backend, self.epsilon, initial, differences, inputs)
            pairs = [Pair(t, differences[k]) if k in differences else t for k, t in initial.items()]
            outputs = program(self.epsilon, pairs, inputs, self._record, *self._observer)
            return pytree.tree_map(lambda leaf: output_difference(leaf, self.epsilon), outputs, is_leaf=varies)

    def differentiate(self, objective: Callable, labels: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """(objective(output, labels), output) for this model's output at ``args``, without a graph.

        The gradient in theta is left in its ``grad``, in place of what was there; autocast holds for the output alone.
        A compiled model, which must return one tensor, does all of it in one graph, unless something is hooked to it or
        to theta. There the Python code of ``objective`` runs once and for all, so it must not depend on what changes.

        Raises:
            What a call and ``backward`` raise; RuntimeError: (first call) the objective cannot be compiled.
        """
        theta = self._thetas()
        if (backend := self._backend_here) is None or self._is_hooked(theta):
            self.zero_grad()
            output = self(*args, **kwargs)
            with _without_autocast(labels.device.type):
                loss = objective(output, labels)
                loss.backward()
            return loss.detach(), output.detach()
        program, initial, differences, inputs = self._prepared(args, kwargs)
        with _without_autocast(labels.device.type):
            loss, output, gradients = differentiate_compiled(
                program, backend, self.epsilon, initial, differences, inputs, objective, labels
            )
        for name, parameter in theta.items():
            parameter.grad = _like(gradients.get(name), parameter)
        return loss, output

    @property
    def _backend_here(self) -> Backend | None:
        """That of a model that is compiled, if this is a call that compiling is for."""
        return self._backend if applies() and self._record is None and not self._observer else None

    def _is_hooked(self, theta: dict[str, Tensor]) -> bool:
        hooks = (self._forward_hooks, self._forward_pre_hooks, self._backward_hooks, self._backward_pre_hooks)
        return any(hooks) or any(t._backward_hooks or t._post_accumulate_grad_hooks for t in theta.values())

    def _prepared(self, args, kwargs) -> tuple[Program, dict, dict, list[Tensor]]:
        """The program for a call, tensors at w_0 and differences by name, and the tensors among its inputs."""
        theta = self._thetas()
        arguments = arguments_of(*in_batches_of(theta.values(), (args, kwargs)))
        inputs = arguments.inputs
        if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
            raise RuntimeError(
                "an input of CenteredModel requires a gradient, which divided differences do not carry: "
                'detach it, or wrap with difference="direct" in float64'
            )
        initial = self._initial()
        program = self._program(arguments, initial)
        changes = self.buffer_differences() if self._updated else {}
        return program, initial, theta | {name: changes[name] for name in self._updated}, inputs

    def compile(self, backend: Backend = "inductor") -> None:
        """Run what records a gradient as one graph from here on, compiled by ``backend`` (see ``torch.compile``).

        The numbers are those of the model that is not compiled, up to the backend's rounding (where it flips a ReLU,
        1e-3 of the gradient, as rounding does in eager mode). Compiling takes from seconds to minutes at the first call
        of each input signature and mode, of all models that share their traces, and for each number of elements that
        the module selects of its inputs by their values, as by a mask. One graph serves alphas above 1, to 1e8, one
        those from 1e-8 to 1, one alpha = inf. Calls without gradients, as in an evaluation, those that share their
        start or are observed, and those inside transforms of ``torch.func`` or dispatch modes run as without.

        Raises:
            ValueError: ``difference="direct"``.
            UnsupportedOperator: (first call) an operator has no rule, which is needed here at alpha = inf too.
            RuntimeError: (first call) the compiler fails.
        """
        if self.difference == "direct":
            raise ValueError('difference="direct" has no program to compile: use "divided", or wrap torch.compile(net)')
        self._backend = backend

    @property
    def is_compiled(self) -> bool:
        """Whether :meth:`compile` has been called."""
        return self._backend is not None

    def trace(self, *args, **kwargs) -> None:
        """Trace the module in its present mode without running it, which raises what a first call would raise."""
        if self.difference == "divided":
            self._program(arguments_of(args, kwargs), self._initial())

    @contextmanager
    def observing(self, observe: Observer) -> Iterator[None]:
        """Within the context every forward pass calls ``observe(name, active_at_w_0, active_at_w)`` for each ReLU call.

        The names are those of :func:`activation_stability`; the two boolean tensors say where the preactivation is > 0
        at w_0 and at w (at alpha = inf they are equal). Cost: two comparisons of the units, no further pass.

        Raises:
            ValueError: ``difference="direct"``, which propagates no pairs.
        """
        if self.difference == "direct":
            raise ValueError(
                'difference="direct" propagates no pairs whose signs could be observed: use '
                "lazytorch.activation_stability"
            )
        before, self._observer = self._observer, (observe,)
        try:
            yield
        finally:
            self._observer = before

    @property
    def tracing(self) -> tuple[int, float]:
        """How many traces there are, one for each input signature and mode, and the seconds that they took."""
        programs = list(self._traces)
        return len(programs), sum(program.seconds for program in programs)

    def _program(self, arguments: Arguments, initial) -> Program:
        program = self._traces.find(self.structure, initial, arguments, not self.is_compiled)
        if program not in self._usable:
            program.check_dependence(set(self.theta))
            updated = self._updated | (program.written & set(self.buffer_differences()))
            program.check_rules(set(self.theta) | updated, self.epsilon)
            self._updated = updated
            self._usable.add(program)
        return program

    def _direct(self, args, kwargs):
        if exporting():
            raise RuntimeError('torch.export does not take difference="direct": use "divided"')
        theta, initial, moved = self.theta(), self._initial(), self.buffer_differences()
        self._check_rounding(initial, args, kwargs)
        device = next(iter(theta.values())).device
        # Differences of buffers that nothing updates stay as they are; frozen parameters stay at w_0.
        at_w = {k: t + self.epsilon * theta[k] if k in theta else t.clone() for k, t in initial.items()}
        for name, change in moved.items():
            at_w[name].add_(change, alpha=self.epsilon)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # one draw for both passes
            start = self._pass(initial, *pytree.tree_map_only(Tensor, Tensor.clone, (args, kwargs)))
        end = self._pass(at_w, args, kwargs)
        if any(part.training for part in self.structure.modules()):
            for name, change in moved.items():
                change.copy_((at_w[name] - initial[name]) * self.alpha)
        return pytree.tree_map(self._subtract, end, start)

    def _check_rounding(self, initial: dict, args, kwargs) -> None:
        """Refuse what the rounding of the module's own arithmetic would drown."""
        key = signature_of(self.structure, initial, arguments_of(args, kwargs))
        if key not in self._roundings:
            with outside(initial, args, kwargs) as example:
                self._roundings[key] = self._rounding(*example)
        unit, where = self._roundings[key]
        if unit * self.alpha > LARGEST_NOISE:
            raise ValueError(
                f"{type(self.structure).__name__} computes in {where}, whose rounding is about {unit * self.alpha:.1g} "
                f'of what difference="direct" subtracts at alpha = {self.alpha:g}: use "divided", or a smaller alpha, '
                f"or have it compute in float64 throughout"
            )

    def _rounding(self, initial: dict, args, kwargs) -> tuple[float, str]:
        """The unit of the coarsest type that anything which depends on the weights is computed in."""
        tensors = {k: t.clone().requires_grad_(k in self.theta) for k, t in initial.items()}
        devices = [t.device for t in initial.values() if t.is_cuda][:1]
        with torch.random.fork_rng(devices), torch.enable_grad(), Coarsest() as found:
            self._pass(tensors, *pytree.tree_map_only(Tensor, Tensor.clone, (args, kwargs)))
        return found.unit, found.where

    def _pass(self, tensors: dict, args, kwargs):
        """On a copy, as a module may keep tensors of its forward, and by the same kernels for both passes."""
        with forward_differentiable():
            return call(copy.deepcopy(self.structure), tensors, args, kwargs)

    def _subtract(self, end, start):
        return self.alpha * (end - start) if isinstance(end, Tensor) and is_continuous(end) else end


def _like(gradient: Tensor | None, theta: Tensor) -> Tensor | None:
    """In memory as theta is, which optimizers may count on."""
    if gradient is None or gradient.stride() == theta.stride():
        return gradient
    return torch.empty_like(theta).copy_(gradient)


def _find_updated(model: CenteredModel, _) -> None:
    changes = model.buffer_differences()
    model._updated |= set(itertools.compress(changes, read(change.any() for change in changes.values())))


def _without_autocast(device: str):
    """Autocast off, as the trace holds its casts already."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
