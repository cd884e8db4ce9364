"""What a subtraction of two passes would drown in: the coarsest arithmetic in a module."""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

#: Noise, as a share of the difference of two passes, that is not let pass.
LARGEST_NOISE = 1e-2


class Coarsest(TorchFunctionMode):
    """Notes the largest unit roundoff of what is computed inside from something that requires a gradient.

    ``where`` names its type, and the function that computed in it.
    """

    def __init__(self):
        super().__init__()
        self.unit, self.where = 0.0, ""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.requires_grad and torch.finfo(result.dtype).eps > self.unit:
            self.unit = torch.finfo(result.dtype).eps
            self.where = f"{str(result.dtype).removeprefix('torch.')} ({getattr(function, '__name__', function)})"
        return result
