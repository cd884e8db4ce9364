"""The derivative of an operator without a rule, which is its divided difference at epsilon = 0.

Torch gives it by forward mode, where it has a formula for the operator; where it has none, that gives 0 without a word.
So forward mode is believed of an operator once it has been found to have the gradient of the backward formula.
Otherwise that formula is differentiated by its cotangent u, in which it is linear: J v = d<J^T u, v>/du.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from ..functional import jvp, real_parts
from .pair import UnsupportedOperator, is_continuous, remedy, varies
from .reading import has_values

#: Of what two computations of one number may differ by: what a missing formula loses is the number itself.
TOLERANCE = {torch.float16: 0.1, torch.bfloat16: 0.1, torch.float32: 1e-2}

#: Operator and settings -> how its derivative is found.
_found: dict = {}


def derivative(function, *args, **kwargs):
    """The Jacobian-vector product of a function of Pairs, in the structure of its outputs (None of an integer).

    Cost: about three evaluations, and at an operator's first use a backward pass and some more.

    Raises:
        UnsupportedOperator: torch differentiates the operator neither forwards nor twice backwards.
    """
    leaves, spec = pytree.tree_flatten((args, kwargs), is_leaf=varies)
    varying = [i for i, leaf in enumerate(leaves) if varies(leaf)]

    def of_varying(*values):
        filled = list(leaves)
        for i, x in zip(varying, values, strict=True):
            filled[i] = x
        args, kwargs = pytree.tree_unflatten(filled, spec)
        return function(*args, **kwargs)

    primals, tangents = map(tuple, zip(*(leaves[i] for i in varying), strict=True))
    settings = [leaf for leaf in leaves if not varies(leaf) and not isinstance(leaf, Tensor)]
    return _how(function, settings, of_varying, primals)(of_varying, primals, tangents)


def _how(function, settings: list, of_varying, primals: Sequence[Tensor]):
    """Forwards or twice backwards, as found out at the first use of an operator with these settings."""
    if not isinstance(function, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded in function.tags:
        return _forwards
    key = function, repr(settings)
    if not all(map(has_values, primals)):
        return _found.get(key, _forwards)
    if key not in _found:
        for way in (_forwards, _twice_backwards):
            if has_gradient_of(of_varying, primals, way):
                _found[key] = way
                break
        else:
            raise UnsupportedOperator(f"it has no rule, and torch no derivative: {remedy(function)}")
    return _found[key]


def _forwards(function, primals, tangents):
    outputs, found = jvp(function, primals, tangents)
    return pytree.tree_map(lambda out, tangent: tangent if is_continuous(out) else None, outputs, found)


def _twice_backwards(function, primals, tangents):
    recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        points = [t.detach().requires_grad_() for t in primals]
        leaves, spec = pytree.tree_flatten(function(*points))
        moving = [i for i, out in enumerate(leaves) if is_continuous(out) and out.requires_grad]
        cotangents = [torch.zeros_like(leaves[i], requires_grad=True) for i in moving]
        gradients = torch.autograd.grad(
            [leaves[i] for i in moving], points, cotangents, create_graph=True, materialize_grads=True
        )
        found = torch.autograd.grad(
            gradients, cotangents, tangents, create_graph=recorded, materialize_grads=True, retain_graph=True
        )
    results = [torch.zeros_like(out) if is_continuous(out) else None for out in leaves]
    for i, tangent in zip(moving, found, strict=True):
        results[i] = tangent if recorded else tangent.detach()
    return pytree.tree_unflatten(results, spec)


def has_gradient_of(function, primals: Sequence[Tensor], way) -> bool:
    """Whether J v, found that way, has the gradient J^T u in v that backward gives, for a random cotangent u.

    So it is linear with the right J. ``function(*primals)`` has outputs of any structure, and draws the same numbers in
    all passes. False also where it raises, and where no output has a gradient.
    """
    generator = torch.Generator().manual_seed(0)

    def drawn(like: Tensor) -> Tensor:
        return torch.randn(like.shape, dtype=like.dtype, generator=generator).to(like.device)

    try:
        with torch.enable_grad():
            points, directions = (
                [t.detach().requires_grad_() for t in each] for each in (primals, map(drawn, primals))
            )
            with _seeded(primals):
                outputs = pytree.tree_leaves(function(*points))
            moving = [i for i, out in enumerate(outputs) if _has_gradient(out)]
            cotangents = [drawn(outputs[i]) for i in moving]
            right = torch.autograd.grad([outputs[i] for i in moving], points, cotangents, materialize_grads=True)
            del outputs
            with _seeded(primals):
                tangents = pytree.tree_leaves(way(function, tuple(primals), tuple(directions)))
            tangents = [tangents[i] for i in moving]
            found = torch.autograd.grad(tangents, directions, cotangents, materialize_grads=True)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        return False
    tolerance = TOLERANCE.get(primals[0].dtype, 1e-4)
    rounding = 100 * torch.finfo(primals[0].dtype).eps * _norm(right)
    pairs = zip(right, found, strict=True)
    return bool(moving) and all(_norm([a - b]) <= tolerance * _norm([a]) + rounding for a, b in pairs)


def _has_gradient(out) -> bool:
    return isinstance(out, Tensor) and is_continuous(out) and out.requires_grad


@contextmanager
def _seeded(primals: Sequence[Tensor]) -> Iterator[None]:
    with torch.random.fork_rng({t.device for t in primals if t.is_cuda}):
        torch.manual_seed(0)
        yield


def _norm(tensors: Sequence[Tensor]) -> float:
    return sum(real_parts(t).double().square().sum().item() for t in tensors) ** 0.5
