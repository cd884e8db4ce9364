"""Models by name: torchvision's classifiers and the user's own module."""

import difflib
import inspect
import types
import typing
from collections.abc import Callable

from torch import nn

from .targets import find_target


def torchvision_model(name: str, classes: int = 10, channels: int = 3, **options) -> nn.Module:
    """A torchvision classifier with random weights: images (N, channels, H, W) to outputs (N, classes).

    ``options`` go to torchvision's constructor. The classifiers are made for three channels; for one channel the first
    convolution's weights are summed over its input channels, which is the same function as repeating the grey image.

    Raises:
        ValueError: if torchvision has no classifier of that name, or ``channels`` is neither 1 nor 3.
        TypeError: if the constructor does not accept ``options``.
    """
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        close = difflib.get_close_matches(str(name), names, n=5, cutoff=0.4) or names
        raise ValueError(f"torchvision has no classifier {name!r}: choose one such as {', '.join(close)}")
    if channels not in (1, 3):
        raise ValueError(f"torchvision's {name} takes images of 3 channels or 1, got {channels}: use another model")
    try:
        net = models.get_model(name, weights=None, num_classes=classes, **options)
    except TypeError as error:
        raise TypeError(f"torchvision's {name} refuses its options: {error}") from error
    return _grey(net) if channels == 1 else net


def _grey(net: nn.Module) -> nn.Module:
    first = next(module for module in net.modules() if isinstance(module, nn.Conv2d))
    first.weight = nn.Parameter(first.weight.detach().sum(1, keepdim=True))
    first.in_channels = 1
    return net


def custom(target: str, /, **keys) -> nn.Module:
    """The user's own module: ``target(**keys)`` for a dotted path such as ``my.module.Net``.

    The target must be an ``nn.Module`` subclass or a function annotated to return one; this is checked before it is
    called. The module is imported with the current directory importable, and exactly ``keys`` are passed.

    Raises:
        ValueError: if the path cannot be imported, or names nothing in its module.
        RuntimeError: if importing the module fails.
        TypeError: if the target is not such a class or function, does not accept ``keys``, or returns something else.
    """
    build = find_target(target)
    if not _builds_module(build):
        raise TypeError(
            f"{target} is neither an nn.Module subclass nor a function annotated to return one: "
            f"annotate its return type, as in `def {target.rpartition('.')[2]}(...) -> torch.nn.Module`"
        )
    _check_keys(target, build, keys)
    net = build(**keys)
    if not isinstance(net, nn.Module):
        raise TypeError(f"{target} returned a {type(net).__name__} where an nn.Module is announced: return the module")
    return net


def _builds_module(build: object) -> typing.TypeGuard[Callable[..., object]]:
    if isinstance(build, type):
        return issubclass(build, nn.Module)
    if not isinstance(build, types.FunctionType):
        return False
    try:
        returned = typing.get_type_hints(build).get("return")
    except (NameError, AttributeError, SyntaxError):  # an annotation that exists for type checkers only
        return False
    return isinstance(returned, type) and issubclass(returned, nn.Module)


def _check_keys(target: str, build: Callable[..., object], keys: dict[str, object]) -> None:
    signature = inspect.signature(build)
    try:
        signature.bind(**keys)
    except TypeError as error:
        accepted = ", ".join(signature.parameters) or "none"
        raise TypeError(f"{target}: {error}; the keys it accepts: {accepted}") from error
