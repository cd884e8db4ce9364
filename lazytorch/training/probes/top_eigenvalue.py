"""The largest eigenvalue of the tangent kernel."""

import torch

from ...anchored import Anchored
from ...kernels import kernel_operator, top_eigenpairs
from .probe import Probe, unsuitable


class TopEigenvalue(Probe):
    """lambda_max(Theta) / (n K) of the full tangent kernel at w on ``x`` (n, ...), in float64.

    For the mean square error, full batches of ``x`` are stable at learning rates below its inverse; after a catapult it
    is smaller (Lewkowycz et al. 2020). Cost: some tens of products J J^T v by Lanczos; the kernel is not formed.
    """

    name = "top_eigenvalue"
    quantities = ("top_eigenvalue",)

    def __call__(self, model: Anchored) -> dict:
        values = model.weights(torch.float64) | model.buffers_at_w(torch.float64)
        with unsuitable("no tangent kernel"):
            operator = kernel_operator(model.to_module().eval(), self.x, weights=values)
        return {"top_eigenvalue": top_eigenpairs(operator, 1)[0].max().item() / operator.shape[0]}
