"""What a module's forward changes in the module itself, and what the next call therefore finds."""

import copy
from collections.abc import Hashable
from itertools import zip_longest

import torch
from torch import nn

from ..signature import PLAIN, plain_attributes

ABSENT = object()


def attributes_of(module: nn.Module) -> dict[str, dict[str, Hashable]]:
    """Path -> name -> state of what each part keeps beside parameters and buffers."""
    return {path: plain_attributes(part) for path, part in module.named_modules()}


def changed_since(before: dict, module: nn.Module) -> list[tuple[str, str]]:
    """(path, name) of the attributes that have changed, of parts that were there before."""
    now = attributes_of(module)
    pairs = [(path, own, now[path]) for path, own in before.items() if path in now]
    return [(path, name) for path, own, found in pairs for name in own | found if own.get(name) != found.get(name)]


def next_call(module: nn.Module, after: nn.Module, changed: list[tuple[str, str]]) -> nn.Module | None:
    """A copy of ``module`` with what is ``changed`` in ``after``, its copy that has run; None if it is as before."""
    following, parts, same = copy.deepcopy(module), dict(after.named_modules()), True
    for path, name in changed:
        own = vars(following.get_submodule(path))
        before = own.pop(name, ABSENT)
        found = _following(before, vars(parts[path]).get(name, ABSENT))
        same = same and found is before
        if found is not ABSENT:
            own[name] = found
    return None if same else following


def _following(before, after):
    """What the next call finds in place of ``before``, if what is plain is as ``after`` the first.

    A tensor's value is not known after a trace: it is some other than before. One that was not there still is not.
    """
    if isinstance(after, torch.Tensor):
        return _other(before)
    if isinstance(after, dict) and isinstance(before, dict):
        found = {key: _following(before.get(key, ABSENT), value) for key, value in after.items()}
        kept = copy.copy(before)
        kept.clear()
        kept.update({key: value for key, value in found.items() if value is not ABSENT})
        return kept
    if type(after) in (list, tuple) and type(before) is type(after):
        found = [_following(*both) for both in zip_longest(before[: len(after)], after, fillvalue=ABSENT)]
        return type(after)(value for value in found if value is not ABSENT)
    return after if type(after) in PLAIN or after is ABSENT else before


def _other(value):
    if isinstance(value, torch.Tensor) and value.dtype == torch.bool:
        return ~value
    return value + 1 if isinstance(value, (torch.Tensor, int, float, complex)) else value


def same_function(left, right) -> bool:
    """Whether two traces compute the same, with the same constants."""
    left.recompile()
    right.recompile()
    if left.code != right.code:
        return False
    names = {node.target for node in left.graph.nodes if node.op == "get_attr"}
    return all(_same_constant(getattr(left, name), getattr(right, name)) for name in names)


def _same_constant(left, right) -> bool:
    if not isinstance(left, torch.Tensor):
        return True
    return left.dtype == right.dtype and torch.equal(left, right)
