"""Packed sequences: the lengths are decided while a trace is made, which then holds for these lengths."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch._decomp import decompositions as torchs
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.utils._python_dispatch import _disable_current_modes

PACK, PAD = torch._VF._pack_padded_sequence, torch._VF._pad_packed_sequence
#: Layer -> torch's own plain code for it, whose second argument is a list.
LAYERS = {
    torch._VF.lstm: torchs.lstm_data_impl,
    torch._VF.gru: torchs.gru_impl_data,
    torch._VF.rnn_tanh: torchs.rnn_tanh_data,
    torch._VF.rnn_relu: torchs.rnn_relu_data,
}


def packs(function, args: tuple) -> bool:
    """Whether this is a call on packed sequences, or one that packs or unpacks them: its second argument is decided."""
    return function in (PACK, PAD) or (function in LAYERS and isinstance(args[3], (list, tuple)))


def call(function, x: Tensor, numbers: list[int], *args):
    """The ``function`` of x, with these lengths, or numbers of sequences that reach each step, as second argument.

    Raises:
        NotImplementedError: dropout between layers, which torch's plain code leaves out.
    """
    if function is PACK:
        return _pack(x, numbers, *args)
    if function is PAD:
        return _pad(x, numbers, *args)
    layers, dropout, training = args[3:6]
    if dropout and training and layers > 1:
        raise NotImplementedError("dropout between the layers of packed sequences")
    return LAYERS[function](x, numbers, *args)


def _pack(x: Tensor, lengths: list[int], batch_first: bool):
    """By torch's own packing of the places."""
    with _untraced():
        places = torch.arange(x.shape[0] * x.shape[1], device=x.device).view(x.shape[:2])
        places, batch_sizes = PACK(places, torch.tensor(lengths), batch_first)
    return x.flatten(0, 1)[places], batch_sizes


def _pad(x: Tensor, batch_sizes: list[int], batch_first: bool, padding: float, length: int):
    with _untraced():
        places = torch.arange(1, len(x) + 1, device=x.device)
        places, lengths = PAD(places, torch.tensor(batch_sizes), batch_first, 0, length)
    return torch.cat([x.new_full((1, *x.shape[1:]), padding), x])[places], lengths


@contextmanager
def _untraced() -> Iterator[None]:
    with torch.no_grad(), temporarily_clear_interpreter_stack(), _disable_current_modes():
        yield
