"""Tensors from what holds numbers."""

import numpy as np
import torch
from torch import Tensor


def as_tensor(value: object, what: str) -> Tensor:
    """A tensor as it is, a numpy array without a copy where torch can share its memory.

    Raises:
        TypeError: if it is neither, or an array of something else than numbers; ``what`` names it.
    """
    if isinstance(value, Tensor):
        return value
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f"{what}: a {type(value).__name__} is no tensor: give a tensor or a numpy array")
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{what}: an array of dtype {array.dtype} holds no plain numbers: convert it, as array.astype('float32')"
        )
    try:
        # torch takes neither read-only memory, nor negative strides, nor foreign byte order
        return torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    except TypeError as error:
        raise TypeError(f"{what}: torch has no type for {array.dtype}: convert it with astype") from error
