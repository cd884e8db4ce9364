"""Pairs (value at w_0, divided difference), the rules that operators follow on them, and their common backward."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard, overload

import torch
from torch import Tensor

from .function import Function, once_differentiable, vjp


class Pair(NamedTuple):
    """A value that depends on theta: ``primal`` = its value at w_0, ``difference`` = its divided difference.

    The value at w = w_0 + epsilon theta is primal + epsilon difference; both tensors have the value's own shape.
    What does not depend on theta stays a plain tensor.
    """

    primal: Tensor
    difference: Tensor

    def value(self, epsilon: float) -> Tensor:
        """The value at w, primal + epsilon difference (where epsilon = 0, the primal itself)."""
        return self.primal if epsilon == 0 else torch.add(self.primal, self.difference, alpha=epsilon)

    def constant(self, epsilon: float) -> Tensor:
        """The value at w, through which no gradient passes."""
        return self.primal if epsilon == 0 else torch.add(self.primal, self.difference.detach(), alpha=epsilon)


class Placed(Pair):
    """A Pair whose value at one epsilon is at hand, without what its gradient would need."""

    epsilon: float
    at_w: Tensor

    def __new__(cls, pair: Pair, epsilon: float, at_w: Tensor):
        """``pair``, with what ``pair.constant(epsilon)`` returns."""
        self = super().__new__(cls, *pair)
        self.epsilon, self.at_w = epsilon, at_w
        return self

    def value(self, epsilon: float) -> Tensor:
        """The value at w = w_0 + epsilon theta."""
        return super().value(epsilon) if torch.is_grad_enabled() else self.constant(epsilon)

    def constant(self, epsilon: float) -> Tensor:
        """The value at w, through which no gradient passes."""
        return self.at_w if epsilon == self.epsilon else super().constant(epsilon)


def placed(pair: Pair, epsilon: float) -> Placed:
    """The pair with its value at w, for what needs that more than once."""
    return Placed(pair, epsilon, pair.constant(epsilon))


class Discrete(NamedTuple):
    """A condition or an index that depends on theta: ``primal`` = its value at w_0, ``final`` = its value at w."""

    primal: Tensor
    final: Tensor

    def value(self, epsilon: float) -> Tensor:
        """The value at w (where epsilon = 0, the one at w_0)."""
        return self.primal if epsilon == 0 else self.final


class UnsupportedOperator(NotImplementedError):
    """An operator has no divided-difference rule at finite alpha; the message names it, its module and the remedy."""


def remedy(operator) -> str:
    """What its user can do."""
    return f'register a rule with lazytorch.rule(torch.ops.{operator}), or wrap with difference="direct" in float64'


Rule = Callable[..., Any]
RULES: dict[Any, Rule] = {}


def rule(*operators) -> Callable[[Rule], Rule]:
    """Register the divided-difference rule of operators: packets such as ``torch.ops.aten.exp``, overloads, or names.

    The rule is called as ``rule(epsilon, out, *args, **kwargs)`` with the operator's own arguments, where a
    :class:`Pair` stands for each floating tensor that depends on theta and a :class:`Discrete` for each condition or
    index that does; ``out`` is what the operator returned at w_0. It returns the divided difference of ``out`` (of a
    condition or index: its value at w), None where ``out`` does not depend on theta, and a tuple of these where ``out``
    is a tuple or list. It must be exact at every epsilon > 0, give the derivative at epsilon = 0, and leave as they are
    its arguments and the value at w of a Pair, which others read too. For an operator of one's own, x^2::

        @lazytorch.rule(torch.ops.my.square)
        def square(epsilon, out, x):
            return x.difference * (2 * x.primal + epsilon * x.difference)
    """

    def register(function: Rule) -> Rule:
        for operator in operators:
            RULES[operator] = function
        find_rule.cache_clear()
        return function

    return register


@functools.cache
def find_rule(operator) -> Rule | None:
    """The rule registered for an operator overload, for its packet or its name; None if there is none."""
    if not isinstance(operator, torch._ops.OpOverload):
        return RULES.get(operator)
    return RULES.get(operator) or RULES.get(operator.overloadpacket) or RULES.get(operator.name())


def varies(argument) -> TypeGuard[Pair | Discrete]:
    """Whether the argument depends on theta."""
    return isinstance(argument, (Pair, Discrete))


def primal(argument) -> Any:
    """The value at w_0 of a Pair, a Discrete or a constant."""
    return argument.primal if varies(argument) else argument


@overload
def difference(argument: Pair) -> Tensor: ...
@overload
def difference(argument: Tensor | None) -> None: ...
def difference(argument):
    """The divided difference of a Pair; None (zero) for a constant."""
    return argument.difference if isinstance(argument, Pair) else None


def value(argument, epsilon: float) -> Any:
    """The value at w of a Pair, a Discrete or a constant."""
    return argument.value(epsilon) if varies(argument) else argument


def is_continuous(tensor) -> bool:
    """Whether a tensor's type has differences (a boolean or an integer has none, see Discrete)."""
    return tensor.is_floating_point() or tensor.is_complex()


#: Roundings of eps d within which a value at w counts as an integer, 0 for one, that it has moved to.
ROUNDINGS = 4


def in_range(function, epsilon: float, *tensors: Tensor) -> Tensor:
    """function(epsilon, *tensors), in float32 where they are float16, whose range epsilon d leaves."""
    if tensors[0].dtype != torch.float16:
        return function(epsilon, *tensors)
    return function(epsilon, *(t.float() for t in tensors)).half()


@overload
def as_pair(argument: None) -> None: ...
@overload
def as_pair(argument: Tensor | Pair) -> Pair: ...
def as_pair(argument):
    """A constant as the pair with zero difference; Pairs and None are returned as they are."""
    if argument is None or isinstance(argument, Pair):
        return argument
    return Pair(argument, torch.zeros_like(argument))


class _Apply(Function):
    @staticmethod
    def forward(ctx, formula, function, epsilon, *tensors):
        primals, differences = tensors[: len(tensors) // 2], tensors[len(tensors) // 2 :]
        arguments = [a if d is None else placed(Pair(a, d), epsilon) for a, d in zip(primals, differences, strict=True)]
        ctx.function = function
        ctx.save_for_backward(*(value(argument, epsilon) for argument in arguments))
        return formula(epsilon, *arguments)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        points = list(ctx.saved_tensors)  # once, as a checkpoint computes them again
        wanted = ctx.needs_input_grad[3 + len(points) :]

        def of_wanted(*moving):
            moving = iter(moving)
            return ctx.function(*(next(moving) if w else p for p, w in zip(points, wanted, strict=True)))

        gradients = iter(vjp(of_wanted, [p for p, w in zip(points, wanted, strict=True) if w], gradient))
        return (None,) * (3 + len(points)) + tuple(next(gradients) if w else None for w in wanted)


def apply(formula, function, epsilon: float, *arguments) -> Tensor:
    """The divided difference ``formula(epsilon, *arguments)``, with the gradient of ``function`` itself.

    As D_eps F = [F(a + eps d) - F(a)] / eps, its derivative in d is that of F at a + eps d, whatever formula computed
    the value. So a formula may branch and clamp as accuracy demands, and no gradient is NaN. ``arguments`` are Pairs,
    tensors or None; costs one evaluation of F and its vector-Jacobian product in the backward pass.
    """
    return _Apply.apply(formula, function, epsilon, *map(primal, arguments), *map(difference, arguments))
