"""What torch keeps in settings of the whole process: how exactly products are computed, and how kernels are chosen."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

#: (object, name of its attribute, (value for off, value for on)).
Setting = tuple[object, str, tuple]


class Switch:
    """A context in which settings are on or off; as before once no thread is inside any more.

    Of threads that ask for different ones at once the last to enter has its own.
    """

    def __init__(self, settings: Callable[[], list[Setting]]):
        self._settings = settings
        self._lock = threading.Lock()
        self._inside: list[tuple[object, bool]] = []  # who is inside, in the order of entry, and whether it is on there
        self._before: list = []  # the settings that the first of them found

    @contextmanager
    def __call__(self, on: bool) -> Iterator[None]:
        own = object(), on
        with self._lock:
            if not self._inside:
                self._before = [getattr(setting, name) for setting, name, _ in self._settings()]
            self._inside.append(own)
            self._apply()
        try:
            yield
        finally:
            with self._lock:
                self._inside.remove(own)
                self._apply()

    def _apply(self) -> None:
        for (setting, name, values), before in zip(self._settings(), self._before, strict=True):
            setattr(setting, name, values[self._inside[-1][1]] if self._inside else before)


def _of_products() -> list[Setting]:
    cuda, cudnn, mkldnn = torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.mkldnn
    if not hasattr(cuda, "fp32_precision"):  # torch before 2.9
        return [(setting, "allow_tf32", (False, True)) for setting in (cuda, cudnn)]
    others = (getattr(backend, part, None) for backend in (cudnn, mkldnn) for part in ("conv", "rnn", "matmul"))
    found = [cuda, *(setting for setting in others if hasattr(setting, "fp32_precision"))]
    return [(setting, "fp32_precision", ("ieee", "tf32")) for setting in found]


#: TF32 in float32 products, off: no bfloat16 either.
tf32 = Switch(_of_products)
#: cuDNN measures its convolutions for each new shape and takes the fastest.
cudnn_benchmark = Switch(lambda: [(torch.backends.cudnn, "benchmark", (False, True))])
