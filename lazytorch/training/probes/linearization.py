"""How far the model is from its linearization."""

import math

import torch

from ...anchored import Anchored
from ...centered import CenteredModel
from ...functional import in_precision
from .probe import Probe, Unsuitable, unsuitable


class LinearizationError(Probe):
    """|D_eps f(theta) - J theta| / |D_eps f(theta)| on the inputs ``x`` (n, ...), in float64.

    None at theta = 0. Cost: two passes of pairs in float64, on a copy of the model, of which the trace alone is kept
    among the model's own.
    """

    name = "linearization"
    quantities = ("linearization_error",)

    def __call__(self, model: Anchored) -> dict:
        if not isinstance(model, CenteredModel) or model.difference == "direct":
            raise Unsuitable("the model is no divided difference")
        moved = model.theta_norm() > 0
        if model.epsilon == 0 or not moved:
            return {"linearization_error": 0.0 if moved else None}
        copy = _in_float64(model)
        x = in_precision(self.x, torch.float64)
        with unsuitable("the network does not run in float64"):
            finite = copy(x)
            copy.alpha = math.inf
            norm, error = finite.norm().item(), (finite - copy(x)).norm().item()
        return {"linearization_error": error / norm if norm > 0 else None}


def _in_float64(model: CenteredModel) -> CenteredModel:
    copy = CenteredModel(model.to_module(torch.float64), model.alpha).eval()
    state = model.state_dict()
    copy.load_state_dict({name: in_precision(t, torch.float64) for name, t in state.items()})
    copy.share_traces(model.share_traces(None))
    return copy
