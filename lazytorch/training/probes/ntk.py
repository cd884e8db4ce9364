"""How far the tangent kernel has moved."""

import torch
from torch import Tensor

from ...anchored import Anchored
from ...functional import in_precision
from ...kernels import empirical_ntk, kernel_distance, kernel_drift
from ..isolation import unmoved
from ..placement import find_processes
from ..start import Start
from .probe import Probe, unsuitable


class KernelDrift(Probe):
    """Relative drift and distance of the full tangent kernel from that at w_0 on ``x`` (n, ...), in float64.

    Both kernels are in evaluation mode, the one at w at ``weights(torch.float64)``. That at w_0 is computed once, and
    again only if w_0's own buffers have been updated: models that share their w_0 and are given one probe share it.
    Processes that train together share its tiles. Cost: one forward and n K backward passes an evaluation.
    """

    name = "ntk"
    quantities = ("ntk_drift", "kernel_distance")

    def __init__(self, x: Tensor):
        super().__init__(x)
        self._start: Start[Tensor] | None = None

    def __call__(self, model: Anchored) -> dict:
        if self._start is None or not self._start.is_of(model):
            self._start = None  # one kernel at w_0 in memory
            initial = model.initial_weights() | model.initial_buffers()
            self._start = Start(model, self._kernel(model, initial))
        start = self._start.value
        if model.epsilon == 0 or unmoved(model):
            kernel = start
        else:
            kernel = self._kernel(model, model.weights(torch.float64) | model.buffers_at_w(torch.float64))
        return {"ntk_drift": kernel_drift(start, kernel), "kernel_distance": kernel_distance(start, kernel)}

    def _kernel(self, model: Anchored, weights: dict[str, Tensor]) -> Tensor:
        weights = {name: in_precision(t, torch.float64) for name, t in weights.items()}
        with unsuitable("no tangent kernel"):
            net = model.to_module().eval()
            return empirical_ntk(net, self.x, weights=weights, group=find_processes().group)
