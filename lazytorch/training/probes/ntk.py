"""How far the tangent kernel has moved."""

import torch
from torch import Tensor

from ...anchored import Anchored
from ...kernels import empirical_ntk, kernel_distance, kernel_drift
from ..checks import unmoved
from .probe import Probe, Unsuitable


class KernelDrift(Probe):
    """Relative drift and distance of the full tangent kernel from that at w_0 on ``x`` (n, ...), in float64.

    Both kernels are in evaluation mode, the one at w at ``weights(torch.float64)``. That at w_0 is computed once, and
    again only if w_0's own buffers have been updated: models of one w_0 that are given one probe share it. Cost: one
    forward and n K backward passes an evaluation.
    """

    quantities = ("ntk_drift", "kernel_distance")

    def __init__(self, x: Tensor):
        super().__init__(x)
        self._start = _Start()

    def __call__(self, model: Anchored) -> dict:
        if not self._start.is_of(model):
            kernel = self._kernel(model, model.initial_weights() | model.initial_buffers())
            self._start = _Start(model, kernel)
        start = self._start.kernel
        kernel = start if model.epsilon == 0 or unmoved(model) else self._kernel(model, None)
        return {"ntk_drift": kernel_drift(start, kernel), "kernel_distance": kernel_distance(start, kernel)}

    def _kernel(self, model: Anchored, weights: dict | None) -> Tensor:
        weights = weights or model.weights(torch.float64) | model.buffers_at_w(torch.float64)
        weights = {name: t.double() if t.is_floating_point() else t for name, t in weights.items()}
        try:
            return empirical_ntk(model.to_module().eval(), self.x, weights=weights)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise Unsuitable(f"no tangent kernel: {error}") from error


class _Start:
    """w_0 and its kernel, recognised by the tensors themselves, of which only buffers are copied."""

    def __init__(self, model: Anchored | None = None, kernel: Tensor | None = None):
        self.kernel = kernel
        self.weights = model.initial_weights() if model else {}
        self.versions = {name: tensor._version for name, tensor in self.weights.items()}
        self.buffers = {name: tensor.clone() for name, tensor in model.initial_buffers().items()} if model else {}

    def is_of(self, model: Anchored) -> bool:
        weights, buffers = model.initial_weights(), model.initial_buffers()
        return (
            self.kernel is not None
            and weights.keys() == self.weights.keys()
            and buffers.keys() == self.buffers.keys()
            and all(self._same(name, tensor) for name, tensor in weights.items())
            and all(torch.equal(self.buffers[name], tensor) for name, tensor in buffers.items())
        )

    def _same(self, name: str, tensor: Tensor) -> bool:
        return tensor is self.weights[name] and tensor._version == self.versions[name]
