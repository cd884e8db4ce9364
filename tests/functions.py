"""Modules made of a function."""

import torch
from torch import nn


class Function(nn.Module):
    """A function of an input and of one parameter."""

    def __init__(self, function, *shape):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.randn(shape))

    def forward(self, x):
        return self.function(x, self.weight)
