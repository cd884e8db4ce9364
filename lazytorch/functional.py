"""Calling a module with other values than its own, and in ways that can be differentiated."""

import functools
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

#: Torch's switches of attention, its level of forward mode and its tracer are those of the whole process.
LOCK = threading.RLock()


def alone():
    """The context in which no other thread traces or differentiates forwards; a compiler knows no locks."""
    return nullcontext() if torch.compiler.is_compiling() else LOCK


def call(module: nn.Module, tensors: dict[str, Tensor], args: tuple, kwargs: dict | None = None):
    """``module(*args, **kwargs)`` with the parameters and buffers in ``tensors``; the others are its own.

    ``tensors`` is keyed as ``named_parameters`` and ``named_buffers``, where tied tensors have one name. In-place
    updates of buffers go into the given tensors. ``torch.func.functional_call`` alone leaves a module that is reachable
    by two names changed; here each place is set once and restored.
    """
    places = {f"{path}.{leaf}".lstrip("."): tensors[name] for path, _, leaf, name in _places(module) if name in tensors}
    return torch.func.functional_call(module, places, args, kwargs, tie_weights=False)


@contextmanager
def installed(module: nn.Module, tensors: dict[str, Tensor]) -> Iterator[None]:
    """Within the context the module's own parameters and buffers are these ``tensors``, keyed as in :func:`call`."""
    before = []
    try:
        for _, held, leaf, name in list(_places(module)):
            if name in tensors:
                before.append((held, leaf, held[leaf]))
                held[leaf] = tensors[name]
        yield
    finally:
        for held, leaf, tensor in before:
            held[leaf] = tensor


def _places(module: nn.Module) -> Iterator[tuple[str, dict, str, str]]:
    """(path of the part, its dict of parameters or buffers, name there, first name of the tensor) of every place."""
    own = (*module.named_parameters(), *module.named_buffers())
    names = {id(tensor): name for name, tensor in own}
    for path, part in module.named_modules():
        for held in (part._parameters, part._buffers):
            yield from ((path, held, leaf, names[id(t)]) for leaf, t in held.items() if t is not None)


def values_at(net: nn.Module, weights: dict | None) -> dict[str, Tensor]:
    """Name -> value of every parameter and buffer of ``net``, those in ``weights`` replaced.

    What is floating is converted to the type of the first that is in ``weights``, which may have any of the names of
    a tied tensor, as ``net.state_dict()`` does.
    """
    own = dict(net.named_parameters()) | dict(net.named_buffers())
    tensors = {name: tensor.detach() for name, tensor in own.items()}
    first_names = {id(tensor): name for name, tensor in reversed(own.items())}
    every = (*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False))
    names = {name: first_names[id(tensor)] for name, tensor in every}
    for name, tensor in (weights or {}).items():
        if name not in names:
            raise ValueError(f"weights names {name!r}, which {type(net).__name__} does not have")
        needed = own[names[name]]
        if not isinstance(tensor, Tensor) or tensor.is_floating_point() != needed.is_floating_point():
            found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"weights has {found} for {name!r}, in {type(net).__name__} it is {needed.dtype}")
        if tensor.shape != needed.shape:
            found, needed = tuple(tensor.shape), tuple(needed.shape)
            raise ValueError(f"weights has {name!r} of shape {found}, in {type(net).__name__} it is {needed}")
        tensors[names[name]] = tensor.detach()
    dtype = next((tensor.dtype for tensor in (weights or {}).values() if tensor.is_floating_point()), None)
    return {name: in_precision(t, dtype) if dtype else t for name, t in tensors.items()}


def in_precision(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A floating tensor in the type ``dtype``, a complex one in two such parts, any other as it is."""
    if tensor.is_complex():
        return tensor.to(dtype.to_complex())
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def read(numbers: Iterable[Tensor]) -> list:
    """The values of tensors of one element, as Python numbers, for which a device is waited for once."""
    numbers = list(numbers)
    return torch.stack([number.to(numbers[0].device) for number in numbers]).tolist() if numbers else []


def real_parts(tensor: Tensor) -> Tensor:
    """Real and imaginary parts of a complex tensor in one more dimension, a real tensor as it is."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


@contextmanager
def forward_differentiable() -> Iterator[None]:
    """Attention in its plain form, in one thread at once: fused kernels and fast paths have no forward-mode formula."""
    with alone():
        before = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(before)


def kept_tensors(module: nn.Module) -> list[Tensor]:
    """What the module's parts hold in plain attributes, or in lists and dicts there: what a forward has kept."""
    own = ("_parameters", "_buffers", "_modules")
    values = (value for part in module.modules() for name, value in vars(part).items() if name not in own)
    return [leaf for leaf in pytree.tree_leaves(list(values)) if isinstance(leaf, Tensor)]


def kept_without_graph(module: nn.Module) -> dict[int, Tensor]:
    """id of a tensor with a graph that the module keeps -> a copy without: a memo for ``copy.deepcopy``."""
    return {id(t): t.detach().clone() for t in kept_tensors(module) if not t.is_leaf}


def jvp(function, primals: tuple, tangents: tuple, *, has_aux: bool = False) -> tuple:
    """``torch.func.jvp`` in one thread at once, without the warnings of what torch loads at its first call."""
    if not torch.compiler.is_compiling():
        _load_forward_mode()
    with alone():
        return torch.func.jvp(function, primals, tangents, has_aux=has_aux)


@functools.cache
def _load_forward_mode() -> None:
    zero = (torch.zeros(()),)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".torch\.jit\.\w+. is deprecated")  # torch scripts decompositions of its own
        torch.func.jvp(torch.neg, zero, zero)
