"""What a trace of a module is good for: the signature of a call, and the module's own state."""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch._prims_common import make_contiguous_strides_for
from torch.utils.weak import WeakIdRef

PLAIN = frozenset((bool, int, float, complex, str, type(None), torch.dtype, torch.device))
CONTAINERS = frozenset((tuple, list, dict, OrderedDict, defaultdict, Counter))  # others may be anything
OWN = frozenset(vars(nn.Module())) - {"training"}  # attributes of every module
UNSEEN = object()  # the state of an object of another kind
DEPTH = 3  # to which an argument is searched for tensors, and an attribute for its state
LONG = 1000

try:
    hash(pytree.tree_flatten({})[1])
    HAVE_HASHES = True
except TypeError:  # structures of torch 2.6
    HAVE_HASHES = False


class Arguments(NamedTuple):
    """Those of a call, their leaves as of a pytree, and what tells its structure."""

    args: tuple
    kwargs: dict
    leaves: Sequence
    structure: Hashable

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors among them."""
        return [leaf for leaf in self.leaves if isinstance(leaf, Tensor)]


def arguments_of(args: tuple, kwargs: dict) -> Arguments:
    """Of a call; where all are tensors by position, as they mostly are, without walking through a tree."""
    if not kwargs and all(isinstance(argument, Tensor) for argument in args):
        return Arguments(args, kwargs, args, len(args))
    leaves, spec = pytree.tree_flatten((args, kwargs))
    return Arguments(args, kwargs, leaves, spec if HAVE_HASHES else repr(spec))


def signature_of(module: nn.Module, tensors: dict[str, Tensor], arguments: Arguments) -> Hashable:
    """Of a call of ``module`` with its ``tensors``: structure, shapes, types and devices, modes and autocast.

    Raises:
        TypeError: an argument is neither a tensor nor hashable, or is an object that holds tensors.
    """
    device = next(iter(tensors.values())).device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    modes = tuple([part.training for part in _parts(module)])
    weights = tuple([(t.shape, t.stride(), t.dtype, t.device) for t in tensors.values()])
    return arguments.structure, tuple(map(_of_leaf, arguments.leaves)), weights, modes, autocast


def _parts(module: nn.Module) -> dict[nn.Module, None]:
    """The module and those in it, each once, in half the time of ``module.modules()``."""
    found: dict[nn.Module, None] = {}
    waiting: list[nn.Module | None] = [module]
    while waiting:
        part = waiting.pop()
        if part is not None and part not in found:
            found[part] = None
            waiting += part._modules.values()
    return found


def changing_numbers(key: tuple, keys: Iterable[tuple], args: tuple, kwargs: dict) -> tuple[int, list[str]]:
    """How many of the ``keys``, (signature, state), differ from this one in ints and floats alone; these arguments."""
    alike = [other for other in keys if _without_numbers(other) == _without_numbers(key)]
    paths = [path for path, _ in pytree.tree_flatten_with_path((args, kwargs))[0]]
    leaves = zip(*(inputs for (_, inputs, *_), _ in alike), strict=True)
    return len(alike), [_argument(*path[:2]) for path, each in zip(paths, leaves, strict=True) if len(set(each)) > 1]


def without_sizes(key: tuple) -> tuple:
    """Of a (signature, state), what calls share whose contiguous inputs differ in sizes alone."""
    (spec, inputs, *rest), state = key
    return spec, tuple(map(_without_size, inputs)), *rest, state


def _without_size(leaf: tuple) -> tuple:
    if not _is_tensor(leaf) or tuple(leaf[1]) != make_contiguous_strides_for(leaf[0]):
        return leaf
    return len(leaf[0]), *leaf[2:]


def shapes_of(key: tuple) -> list[tuple[int, ...]]:
    """Of the tensors among the inputs of a call with this (signature, state)."""
    _, inputs, *_ = key[0]
    return [leaf[0] for leaf in inputs if _is_tensor(leaf)]


def _is_tensor(leaf: tuple) -> bool:
    return isinstance(leaf[0], tuple)  # its shape, as _of_leaf has it; of anything else it is the type


def _without_numbers(key: tuple) -> tuple:
    (spec, inputs, *rest), state = key
    return spec, tuple(leaf[:1] if leaf[0] in (int, float) else leaf for leaf in inputs), *rest, state


def _argument(which, place) -> str:
    return f"argument {place.idx}" if which.idx == 0 else f"argument {place.key!r}"


def state_of(module: nn.Module) -> tuple:
    """What its parts keep beside parameters and buffers: rates, counters and flags, which its forward may read."""
    found: list[Hashable] = []
    for part in _parts(module):
        for name, value in part.__dict__.items():
            if name not in OWN:
                state = value if type(value) in PLAIN else _state(value)
                if state is not UNSEEN:
                    found += name, state
    return tuple(found)


def plain_attributes(part) -> dict[str, Hashable]:
    """Name -> state of what one part, or any object, keeps."""
    kept = {n: _state(value) for n, value in getattr(part, "__dict__", {}).items() if n not in OWN}
    return {n: state for n, state in kept.items() if state is not UNSEEN}


def _state(value, depth: int = DEPTH) -> Hashable:
    """Of a plain value, of lists, tuples and dicts of those, and of a tensor: which one, and how often it was changed.

    Of containers of more than ``LONG`` elements, as vocabularies are, only how many.
    """
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, Tensor):
        return WeakIdRef(value), 0 if value.is_inference() else value._version
    if kind not in CONTAINERS or depth == 0:
        return UNSEEN
    if len(value) > LONG:
        return kind, len(value)
    if isinstance(value, dict):
        return kind, tuple((key, _state(element, depth - 1)) for key, element in value.items())
    if PLAIN.issuperset(map(type, value)):
        return kind, tuple(value)
    return kind, tuple(_state(element, depth - 1) for element in value)


def _of_leaf(leaf) -> Hashable:
    if isinstance(leaf, Tensor):
        return tuple(leaf.shape), leaf.stride(), leaf.dtype, leaf.device
    if type(leaf) in PLAIN:
        return type(leaf), leaf
    kind = type(leaf).__name__
    if _holds_tensors(leaf, DEPTH):
        raise TypeError(
            f"an argument is a {kind} that holds tensors, which a trace would keep for ever: give the tensors "
            f"themselves, in lists, tuples or dicts, or make it known to torch.utils._pytree"
        )
    if not isinstance(leaf, Hashable):
        raise TypeError(f"an argument is a {kind}: a model takes tensors, and what can be hashed")
    return type(leaf), leaf, repr(plain_attributes(leaf))


def _holds_tensors(value, depth: int) -> bool:
    if isinstance(value, Tensor):
        return True
    if depth == 0 or type(value) in PLAIN or isinstance(value, type) or callable(value):
        return False
    parts = list(getattr(value, "__dict__", {}).values())
    slots = getattr(type(value), "__slots__", ())
    parts += [getattr(value, name, None) for name in ((slots,) if isinstance(slots, str) else slots)]
    if isinstance(value, Mapping):
        parts += value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        parts += value
    return any(_holds_tensors(part, depth - 1) for part in parts)


class Latest(dict):
    """Keeps the latest entries; a copy of the model starts without."""

    LIMIT = 64

    def __setitem__(self, key, value):
        if len(self) >= self.LIMIT:
            del self[next(iter(self))]
        super().__setitem__(key, value)

    def __deepcopy__(self, memo):
        return Latest()

    def __reduce__(self):
        return Latest, ()
