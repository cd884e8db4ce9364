"""How lazy training can be expected to be, before it begins."""

import logging

import torch
from torch import Tensor

from ...anchored import Anchored
from ...functional import in_precision
from ...theory.kappa import first_norm, second_norms
from ..start import Start
from .probe import Probe, unsuitable

log = logging.getLogger(__name__)
STARTS = 3


class Kappa(Probe):
    """kappa(w_0) = |D^2 f(w_0)| / (alpha |Df(w_0)|^2) on ``x`` (n, ...), in float64: the criterion for one-hot targets.

    Said once, and at every evaluation that of the start, where a centered model is 0 and |h - y| = 1 whichever the
    one-hot targets are; 0 at alpha = inf. |D^2 f| is a lower bound, the best of 3 starts, see
    :func:`lazytorch.theory.kappa`. Computed once, and again only if w_0's own buffers have been updated: models that
    share their w_0 and are given one probe share it. Cost: for each start some tens of times 24 passes over ``x``.
    """

    name = "kappa"
    quantities = ("kappa",)

    def __init__(self, x: Tensor):
        super().__init__(x)
        self._start: Start[float] | None = None

    def __call__(self, model: Anchored) -> dict:
        if model.epsilon == 0:
            return {"kappa": 0.0}
        if self._start is None or not self._start.is_of(model):
            self._start = Start(model, self._curvature(model))
        return {"kappa": model.epsilon * self._start.value}

    def _curvature(self, model: Anchored) -> float:
        initial = model.initial_weights() | model.initial_buffers()
        weights = {name: in_precision(tensor, torch.float64) for name, tensor in initial.items()}
        net = model.to_module().eval()
        with unsuitable("no second differential"):
            first = first_norm(net, self.x, weights)
            curvature = max(second_norms(net, self.x, STARTS, weights=weights)) / first**2
        log.info("kappa(w_0) = %.3g / alpha or more: training is lazy where that is far below 1", curvature)
        return curvature
