"""Which ReLU units are as active as at the start."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...activations import ActivationCounts, activation_counts
from ...anchored import Anchored
from ...centered import CenteredModel
from ...functional import in_precision
from ...processes import Processes
from ..isolation import unmoved
from ..placement import find_processes
from .probe import Probe, Unsuitable, unsuitable


class ActivationStability(Probe):
    """The share of ReLU units that are as active as at w_0, mean over the calls of ReLU, and by call.

    Signs come from the pairs that the evaluation on the test set propagates anyway, and so are those of all test
    inputs, at no pass of their own. Models that are not divided differences take two passes in float64 on the same
    inputs; a probe that is called without an evaluation takes them on ``x`` (n, ...).
    """

    name = "activations"
    quantities = ("activation_stability", "activation_stability_by_layer")

    def __init__(self, x: Tensor):
        super().__init__(x)
        self._counts: WeakKeyDictionary[Anchored, ActivationCounts] = WeakKeyDictionary()
        self._inputs: WeakKeyDictionary[Anchored, list[Tensor]] = WeakKeyDictionary()

    @contextmanager
    def watching(self, model: Anchored) -> Iterator[None]:
        if isinstance(model, CenteredModel) and model.difference == "divided":
            self._counts[model] = ActivationCounts()
            with model.observing(self._counts[model]):
                yield
        elif model.epsilon > 0:
            inputs = self._inputs[model] = []
            hook = model.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
            try:
                yield
            finally:
                hook.remove()
        else:  # w is w_0
            yield

    def __call__(self, model: Anchored) -> dict:
        counts, inputs = self._counts.pop(model, None), self._inputs.pop(model, None)
        processes = find_processes()
        if any(processes.gather(bool(inputs))):
            counts = self._by_two_passes(model, torch.cat(inputs)) if inputs else ActivationCounts()
        elif counts is None or not any(processes.gather(bool(counts.total))):
            counts, processes = self._by_two_passes(model, self.x), Processes()  # theta = 0 takes no pass: none is seen
        stability = counts.stability(processes)
        if math.isnan(stability["overall"]):
            raise Unsuitable("the network has no ReLU")
        return {"activation_stability": stability["overall"], "activation_stability_by_layer": stability["layers"]}

    def _by_two_passes(self, model: Anchored, x: Tensor) -> ActivationCounts:
        net, start = model.to_module().eval(), model.initial_weights() | model.initial_buffers()
        if model.epsilon == 0 or unmoved(model):
            return activation_counts(net, start, start, x)
        start = {name: in_precision(t, torch.float64) for name, t in start.items()}
        end = model.weights(torch.float64) | model.buffers_at_w(torch.float64)
        with unsuitable("the network does not run in float64"):
            return activation_counts(net, start, end, x)
