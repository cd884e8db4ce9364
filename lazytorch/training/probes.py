"""Measurements of how lazy the training is.

Probes of kernels and activations evaluate in float64 at ``weights(torch.float64)``, in evaluation mode.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from ..anchored import Anchored
from ..centered import CenteredModel
from ..kernels import empirical_ntk, kernel_distance, kernel_drift
from .activations import activation_stability


class Probe(Protocol):
    """Anything that maps the model to its measurements, by the names of the run directory."""

    def __call__(self, model: Anchored) -> dict:
        """The measurements at w."""


class Displacement:
    """|w - w_0| / |w_0|, in total and by module, and |theta|. Costs nothing."""

    def __call__(self, model: Anchored) -> dict:
        return {
            "displacement": model.displacement(),
            "theta_norm": model.theta_norm(),
            "displacement_by_module": model.displacement_by_module(),
        }


class KernelDrift:
    """Relative drift and distance of the full tangent kernel from that at w_0, on the inputs ``x`` (n, ...).

    The kernel at w_0 is computed once, and again if w_0's own buffers have been updated.
    """

    def __init__(self, x: Tensor):
        self.x = x
        self._start: tuple[dict, Tensor] | None = None

    def __call__(self, model: Anchored) -> dict:
        start = _at_start(model)
        if self._start is None or not _equal(self._start[0], start):
            self._start = start, self._kernel(model, start)
        kernel = self._kernel(model, _at_w(model))
        return {
            "ntk_drift": kernel_drift(self._start[1], kernel),
            "kernel_distance": kernel_distance(self._start[1], kernel),
        }

    def _kernel(self, model: Anchored, weights: dict) -> Tensor:
        return empirical_ntk(model.to_module().eval(), self.x, weights=weights)


class ActivationStability:
    """The share of ReLU units that are as active as at w_0 on the inputs ``x`` (n, ...), over all and by layer."""

    def __init__(self, x: Tensor):
        self.x = x

    def __call__(self, model: Anchored) -> dict:
        stability = activation_stability(model.to_module().eval(), _at_start(model), _at_w(model), self.x)
        overall = None if math.isnan(stability["overall"]) else stability["overall"]
        return {"activation_stability": overall, "activation_stability_by_layer": stability["layers"]}


class LinearizationError:
    """|D_eps f(theta) - J theta| / |D_eps f(theta)| on the inputs ``x`` (n, ...), in float64.

    None at theta = 0, and for models that are not divided differences. Keeps a copy of the model in float64.
    """

    def __init__(self, x: Tensor):
        self.x, self.copy = x, None

    @torch.no_grad()
    def __call__(self, model: Anchored) -> dict:
        if not isinstance(model, CenteredModel) or model.difference == "direct":
            return {"linearization_error": None}
        state = {name: t.double() if t.is_floating_point() else t for name, t in model.state_dict().items()}
        if self.copy is None:
            self.copy = CenteredModel(model.to_module(torch.float64), model.alpha).eval()
        self.copy.load_state_dict(state)
        x = self.x.double() if self.x.is_floating_point() else self.x
        self.copy.alpha = model.alpha
        finite = self.copy(x)
        self.copy.alpha = math.inf
        linear = self.copy(x)
        norm = finite.norm().item()
        return {"linearization_error": (finite - linear).norm().item() / norm if norm > 0 else None}


def standard_probes(x: Tensor, stability_inputs: Tensor) -> tuple[Probe, ...]:
    """All probes: kernel and linearization error on ``x``, activations on ``stability_inputs``."""
    return Displacement(), KernelDrift(x), ActivationStability(stability_inputs), LinearizationError(x)


def _at_start(model: Anchored) -> dict[str, Tensor]:
    values = model.initial_weights() | model.initial_buffers()
    return {name: t.double() if t.is_floating_point() else t.clone() for name, t in values.items()}


def _at_w(model: Anchored) -> dict[str, Tensor]:
    return model.weights(torch.float64) | model.buffers_at_w(torch.float64)


def _equal(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, right[name]) for name, tensor in left.items())
