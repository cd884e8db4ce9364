"""Integer parts and remainders. What they round to at w is decided by the differences: where a is an integer, by d."""

import functools

import torch

from .bilinear import divide
from .jumps import jump
from .pair import ROUNDINGS, difference, is_continuous, primal, rule, value

aten = torch.ops.aten


@rule(aten.sign)
def sign(epsilon, out, x):
    return jump(epsilon, out, x.value(epsilon).sign())


def _rest(epsilon, x, n):
    """(a - n) + eps d, for an n that makes a - n exact; an integer where it has moved to one, to rounding."""
    step = epsilon * x.difference
    rest = (x.primal - n) + step
    near = rest.round()
    met = (near != 0) & ((rest - near).abs() <= ROUNDINGS * torch.finfo(rest.dtype).eps * step.abs())
    return torch.where(met, near, rest)


def _integer_part(operator, epsilon, out, x):
    """phi(b) = n + phi((a - n) + eps d) with n the integer next to a."""
    n = x.primal.round()
    return jump(epsilon, out - n, operator(_rest(epsilon, x, n)))


for _operator in (aten.ceil, aten.floor):
    rule(_operator)(functools.partial(_integer_part, _operator))


@rule(aten.trunc)
def truncate(epsilon, out, x):
    """The floor where b is positive, the ceiling where it is negative."""
    n = x.primal.round()
    return jump(epsilon, out - n, _truncated(epsilon, x, n))


def _truncated(epsilon, x, n):
    rest = _rest(epsilon, x, n)
    return torch.where(n + rest < 0, rest.ceil(), rest.floor())


@rule(aten._to_copy)
def cast(epsilon, out, x, **options):
    """To integers by truncation, to booleans by comparison with 0."""
    if is_continuous(out):
        return aten._to_copy(x.difference, **options)
    if epsilon == 0 or out.dtype == torch.bool:
        return aten._to_copy(x.value(epsilon), **options)
    n = x.primal.round()
    return aten._to_copy(n + _truncated(epsilon, x, n), **options)


@rule(aten.histc)
def histogram(epsilon, out, x, *settings):
    """Counts at w, of integers that have moved to integers too."""
    n = x.primal.round()
    return jump(epsilon, out, aten.histc(n + _rest(epsilon, x, n), *settings))


@rule(aten.round.default)
def round_half_to_even(epsilon, out, x):
    """n + ceil((a - n - 1/2) + eps d) with n = floor(a), which rounds half down, and one more where that is odd."""
    n = x.primal.floor()
    rest = _rest(epsilon, x, n + 0.5)
    down = rest.ceil()
    return jump(epsilon, out - n, down + ((rest == down) & ((n + down) % 2 != 0)))


@rule(aten.remainder)
def remainder(epsilon, out, x, divisor):
    """x - n divisor with n = floor(x / divisor)."""
    return _remainder(torch.floor, epsilon, out, x, divisor)


@rule(aten.fmod)
def fmod(epsilon, out, x, divisor):
    """x - n divisor with n = trunc(x / divisor)."""
    return _remainder(torch.trunc, epsilon, out, x, divisor)


def _remainder(towards, epsilon, out, x, divisor):
    """d - n d_c - (c at w) (change of n) / eps, with c the divisor."""
    n = torch.round((primal(x) - out) / primal(divisor))
    change = _moved(x, divisor, n)
    if epsilon > 0:
        change = change - value(divisor, epsilon) * (_turns(towards, epsilon, x, divisor, n, out) / epsilon)
    return change


@rule(aten.div.Tensor_mode, aten.div.Scalar_mode)
def divide_and_round(epsilon, out, x, divisor, *, rounding_mode):
    """(change of n) / eps."""
    if rounding_mode is None:
        return divide(epsilon, out, x, divisor)
    if epsilon == 0:
        return torch.zeros_like(out)
    towards, rest = {"floor": (torch.floor, torch.remainder), "trunc": (torch.trunc, torch.fmod)}[rounding_mode]
    return _turns(towards, epsilon, x, divisor, out, rest(primal(x), primal(divisor))) / epsilon


def _moved(x, divisor, n):
    """d - n d_c."""
    d, d_divisor = difference(x), difference(divisor)
    if d_divisor is None:
        return d
    return -n * d_divisor if d is None else d - n * d_divisor


def _turns(towards, epsilon, x, divisor, n, remainder):
    """How many more times the divisor goes into x at w than at w_0, where x = n divisor + remainder."""
    c = value(divisor, epsilon)
    rest = (remainder + epsilon * _moved(x, divisor, n)) / c
    if towards is torch.floor:
        return rest.floor()
    return torch.where(value(x, epsilon) / c < 0, rest.ceil(), rest.floor())
