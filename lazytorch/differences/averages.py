"""Batch norm whose running statistics are the mean over all batches (``momentum=None``), as a trace can hold it.

Torch's own reads the number of batches as a Python number, which is another one at every call.
"""

import types

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def keep_number_of_batches(module: nn.Module) -> None:
    """Have the parts that average over batches count them in tensors."""
    for part in module.modules():
        own = isinstance(part, _BatchNorm) and type(part).forward is _BatchNorm.forward
        if own and part.momentum is None and part.num_batches_tracked is not None:
            part.forward = types.MethodType(_forward, part)


def _forward(self, x):
    self._check_input_dim(x)
    if not self.training:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
    with torch.no_grad():
        self.num_batches_tracked.add_(1)
        variance, mean = torch.var_mean(x, [dim for dim in range(x.dim()) if dim != 1])
        for running, new in ((self.running_mean, mean), (self.running_var, variance)):
            running.add_((new - running) / self.num_batches_tracked.to(running.dtype))
    return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
