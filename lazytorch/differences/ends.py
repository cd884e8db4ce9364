"""Small alpha, where nothing cancels: operators run at w_0 and at w, without rules, and the outputs are subtracted.

A pair has its value at w as a sum, a + eps d, which in its turn cancels where w is far from w_0.
"""

from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from .pair import Discrete, Pair, find_rule, is_continuous, value, varies

#: The epsilon from which on that is done: alpha <= 1.
LARGE = 1.0


class Ends(Discrete):
    """A value of any type that depends on theta, held at w_0 and at w."""


def needs_rule(operator: torch._ops.OpOverload, epsilon: float) -> bool:
    """Whether the operator cannot do without a rule."""
    return 0 < epsilon < LARGE or (epsilon > 0 and is_random(operator))


def follows_rule(operator: torch._ops.OpOverload) -> bool:
    """Whether it does even so: one draw serves both weights, and a user's operator may have no other derivative."""
    return is_random(operator) or (operator.namespace != "aten" and find_rule(operator) is not None)


def is_random(operator: torch._ops.OpOverload) -> bool:
    """Whether it draws random numbers."""
    return torch.Tag.nondeterministic_seeded in operator.tags


def as_ends(argument, epsilon: float) -> Any:
    """A Pair or Discrete by its values; a constant is itself."""
    return Ends(argument.primal, value(argument, epsilon)) if varies(argument) else argument


def as_difference(argument, epsilon: float) -> Any:
    """Ends as the Pair or Discrete that they are, where equal infinities differ by 0; a constant is itself."""
    if not isinstance(argument, Ends):
        return argument
    start, final = argument
    if not isinstance(start, Tensor) or not is_continuous(start):
        return Discrete(start, final)
    return Pair(start, ((final - start) / epsilon).masked_fill(start.isinf() & (start == final), 0))


def at_both(function, out, args, kwargs):
    """``out``, what the function returned at w_0, with what it returns at w."""
    args, kwargs = pytree.tree_map(lambda leaf: value(leaf, LARGE), (args, kwargs), is_leaf=varies)
    return pytree.tree_map(_ends, out, function(*args, **kwargs))


def _ends(start, final):
    """A size is a number, which Python computes with, unless theta moves it."""
    return start if not isinstance(start, Tensor) and start == final else Ends(start, final)
