"""What was measured at w_0, and of which w_0."""

from typing import Generic, TypeVar

import torch

from ..anchored import Anchored

Value = TypeVar("Value")


class Start(Generic[Value]):
    """w_0 and what was measured there, recognised by the tensors themselves, of which only buffers are copied."""

    def __init__(self, model: Anchored, value: Value):
        self.value = value
        self.weights = model.initial_weights()
        self.versions = {name: tensor._version for name, tensor in self.weights.items()}
        self.buffers = {name: tensor.clone() for name, tensor in model.initial_buffers().items()}

    def is_of(self, model: Anchored) -> bool:
        weights, buffers = model.initial_weights(), model.initial_buffers()
        return (
            weights.keys() == self.weights.keys()
            and buffers.keys() == self.buffers.keys()
            and all(t is self.weights[name] and t._version == self.versions[name] for name, t in weights.items())
            and all(torch.equal(self.buffers[name], tensor) for name, tensor in buffers.items())
        )
