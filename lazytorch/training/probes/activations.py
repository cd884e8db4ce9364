"""Which ReLU units are as active as at the start."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...activations import ActivationCounts, activation_stability
from ...anchored import Anchored
from ...centered import CenteredModel
from .probe import Probe, Unsuitable


class ActivationStability(Probe):
    """The share of ReLU units that are as active as at w_0, mean over the calls of ReLU, and by call.

    Signs come from the pairs that the evaluation on the test set propagates anyway, and so are those of all test
    inputs, at no pass of their own. Models that are not divided differences take two passes in float64 on the same
    inputs; a probe that is called without an evaluation takes them on ``x`` (n, ...).
    """

    quantities = ("activation_stability", "activation_stability_by_layer")

    def __init__(self, x: Tensor):
        super().__init__(x)
        self._seen: WeakKeyDictionary[Anchored, ActivationCounts | list[Tensor]] = WeakKeyDictionary()

    @contextmanager
    def watching(self, model: Anchored) -> Iterator[None]:
        if isinstance(model, CenteredModel) and model.difference == "divided":
            counts = self._seen[model] = ActivationCounts()
            with model.observing(counts):
                yield
            return
        inputs: list[Tensor] = []
        self._seen[model] = inputs
        hook = model.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        try:
            yield
        finally:
            hook.remove()

    def __call__(self, model: Anchored) -> dict:
        seen = self._seen.pop(model, [])
        if isinstance(seen, ActivationCounts) and seen.total:
            stability = seen.stability()
        else:  # no pass has been seen: a model that has not moved is not run
            inputs = [] if isinstance(seen, ActivationCounts) else seen
            stability = self._by_two_passes(model, torch.cat(inputs) if inputs else self.x)
        if math.isnan(stability["overall"]):
            raise Unsuitable("the network has no ReLU")
        return {"activation_stability": stability["overall"], "activation_stability_by_layer": stability["layers"]}

    def _by_two_passes(self, model: Anchored, x: Tensor) -> dict:
        start = {
            name: tensor.double() if tensor.is_floating_point() else tensor
            for name, tensor in (model.initial_weights() | model.initial_buffers()).items()
        }
        end = model.weights(torch.float64) | model.buffers_at_w(torch.float64)
        return activation_stability(model.to_module().eval(), start, end, x)
