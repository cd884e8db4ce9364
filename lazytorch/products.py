"""How exactly products in float32 are computed, which torch keeps in settings of the whole process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside: list[tuple[object, bool]] = []  # who is inside a context, in the order of entry, and whether TF32 is on there
_before: list = []  # the settings that the first of them found


@contextmanager
def products(tf32: bool) -> Iterator[None]:
    """TF32 on or off within the context (off: no bfloat16 either); as it was before once no thread is inside any more.

    The settings are the process's: of threads that ask for different ones at once the last to enter has its own.
    """
    own = object(), tf32
    with _lock:
        if not _inside:
            _before[:] = [getattr(setting, name) for setting, name, _ in _settings()]
        _inside.append(own)
        _apply()
    try:
        yield
    finally:
        with _lock:
            _inside.remove(own)
            _apply()


def _apply() -> None:
    for (setting, name, values), before in zip(_settings(), _before, strict=True):
        setattr(setting, name, values[_inside[-1][1]] if _inside else before)


def _settings() -> list[tuple]:
    """(object, name of its attribute, (value for off, value for on))."""
    cuda, cudnn, mkldnn = torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.mkldnn
    if not hasattr(cuda, "fp32_precision"):  # torch before 2.9
        return [(setting, "allow_tf32", (False, True)) for setting in (cuda, cudnn)]
    others = (getattr(backend, part, None) for backend in (cudnn, mkldnn) for part in ("conv", "rnn", "matmul"))
    found = [cuda, *(setting for setting in others if hasattr(setting, "fp32_precision"))]
    return [(setting, "fp32_precision", ("ieee", "tf32")) for setting in found]
