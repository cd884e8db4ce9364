"""How far the model is from its linearization."""

import math

import torch
from torch import Tensor

from ...anchored import Anchored
from ...centered import CenteredModel
from .probe import Probe, Unsuitable


class LinearizationError(Probe):
    """|D_eps f(theta) - J theta| / |D_eps f(theta)| on the inputs ``x`` (n, ...), in float64.

    None at theta = 0. Cost: two passes of pairs in float64, on a copy of the model of which the trace alone is kept.
    """

    quantities = ("linearization_error",)

    def __init__(self, x: Tensor):
        super().__init__(x)
        self._traces = None

    def __call__(self, model: Anchored) -> dict:
        if not isinstance(model, CenteredModel) or model.difference == "direct":
            raise Unsuitable("the model is no divided difference")
        if model.epsilon == 0:
            return {"linearization_error": 0.0 if model.theta_norm() > 0 else None}
        if not model.theta_norm() > 0:
            return {"linearization_error": None}
        copy = _in_float64(model)
        self._traces = copy.share_traces(self._traces)
        x = self.x.double() if self.x.is_floating_point() else self.x
        finite = copy(x)
        copy.alpha = math.inf
        norm = finite.norm().item()
        return {"linearization_error": (finite - copy(x)).norm().item() / norm if norm > 0 else None}


def _in_float64(model: CenteredModel) -> CenteredModel:
    copy = CenteredModel(model.to_module(torch.float64), model.alpha).eval()
    state = model.state_dict()
    copy.load_state_dict({name: t.double() if t.is_floating_point() else t for name, t in state.items()})
    return copy
