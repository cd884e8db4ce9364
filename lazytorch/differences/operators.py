"""One operator on pairs: by its rule, or as a function of conditions and indices alone, or at both ends."""

import torch.utils._pytree as pytree
from torch import Tensor

from . import (  # noqa: F401 (they register rules)
    activations,
    batch_norm,
    bilinear,
    comparison,
    detection,
    factorisations,
    inverse,
    layer_norm,
    linear,
    linear_algebra,
    ordering,
    piecewise,
    pointwise,
    pooling,
    power,
    random,
    reduction,
    rounding,
    segments,
    selection,
    softmax,
    special,
)
from .derivative import derivative
from .ends import Ends, as_difference, as_ends, at_both, follows_rule, is_random
from .jumps import chosen_jump
from .pair import (
    Discrete,
    Pair,
    UnsupportedOperator,
    find_rule,
    is_continuous,
    primal,
    remedy,
    value,
    varies,
)


def in_python(function, args: tuple):
    """What a graph calls beside operators: the making of lists, and what Python does with tuples and numbers."""
    if any(isinstance(argument, Ends) and not isinstance(argument.primal, Tensor) for argument in args):
        return at_both(function, function(*map(primal, args)), args, {})
    return function(*args)


def on_pairs(operator, epsilon: float, out, args: tuple, kwargs: dict):
    """``out``, what the operator returned at w_0, together with its divided difference where it depends on theta."""
    varying = [leaf for leaf in pytree.tree_leaves((args, kwargs), is_leaf=varies) if varies(leaf)]
    return moved(operator, epsilon, out, varying, args, kwargs) if varying else out


def moved(operator, epsilon: float, out, varying: list, args: tuple, kwargs: dict):
    """As :func:`on_pairs`, which of the arguments depend on theta being known."""
    if isinstance(varying[0], Ends):
        return _on_ends(operator, epsilon, out, args, kwargs)
    rule = find_rule(operator)
    discrete = not isinstance(varying[0], Pair) and all(isinstance(leaf, Discrete) for leaf in varying)
    if discrete and not is_random(operator) and rule is not selection.size:
        result = _jump(operator, epsilon, out, args, kwargs)
    elif rule is not None:
        result = rule(epsilon, out, *args, **kwargs)
    elif epsilon > 0:
        raise UnsupportedOperator(f"it has no divided-difference rule at finite alpha: {remedy(operator)}")
    else:
        result = derivative(operator, *args, **kwargs)
    return _wrap(out, result, epsilon)


def _on_ends(operator, epsilon: float, out, args: tuple, kwargs: dict):
    if not follows_rule(operator):
        return at_both(operator, out, args, kwargs)
    args, kwargs = pytree.tree_map(lambda leaf: as_difference(leaf, epsilon), (args, kwargs), is_leaf=varies)
    result = on_pairs(operator, epsilon, out, args, kwargs)
    return pytree.tree_map(lambda leaf: as_ends(leaf, epsilon), result, is_leaf=varies)


def _wrap(out, result, epsilon):
    if result is None:
        return out
    if isinstance(result, Pair):
        return result
    if isinstance(out, (tuple, list)):
        return tuple(_wrap(*both, epsilon) for both in zip(out, result, strict=True))
    if is_continuous(out):
        return Pair(out, result)
    return Discrete(out, result) if epsilon > 0 else out


def _jump(operator, epsilon, out, args, kwargs):
    """Of a function of conditions and indices alone."""
    args, kwargs = pytree.tree_map(lambda leaf: value(leaf, epsilon), (args, kwargs), is_leaf=varies)
    return pytree.tree_map(lambda at_w, a: chosen_jump(epsilon, a, at_w), operator(*args, **kwargs), out)
