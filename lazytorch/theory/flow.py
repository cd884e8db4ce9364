"""Gradient flow of a model in scaled coordinates, integrated to a stated tolerance."""

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from ..anchored import Anchored
from ..centered import CenteredModel
from ..functional import in_precision
from ..kernels.tangent import as_inputs
from .linear_dynamics import as_outputs


@dataclass(frozen=True, eq=False)
class Flow:
    """What :func:`gradient_flow` has come to, in float64.

    Attributes:
        times: (T,), those asked for, on s.
        theta: (T, P), the scaled displacement alpha (w - w_0), flattened as ``ScaledVelocity`` says.
        outputs: (T, n, K), F = alpha (f(w) - f(w_0)).
        losses: (T,), |F - y|^2 / 2.
        evaluations: how many velocities were computed.
    """

    times: Tensor
    theta: Tensor
    outputs: Tensor
    losses: Tensor
    evaluations: int


class ScaledVelocity:
    """theta -> -J(w)^T (F(theta) - y), w = w_0 + theta / alpha: minus the gradient of |F - y|^2 / 2 by theta.

    On a copy of ``model`` in float64 and evaluation mode. theta is a vector (P,), the parameters in the order of
    ``model.theta``, flattened. At alpha = inf, F = J(w_0) theta, and the velocity -J(w_0)^T (J(w_0) theta - y).

    Args:
        model: a CenteredModel, or a linearized one.
        x: (n, ...) inputs, or a tuple of such tensors; floating ones are taken to float64.
        y: (n, K) targets, or (n,) integer labels, which become one-hot targets.

    Cost of a call: a training step of the model on all of x.

    Raises:
        TypeError: ``model`` is a plain module.
        ValueError: outputs that are not (n, K), targets of another shape.
    """

    def __init__(self, model: Anchored, x: Tensor | tuple[Tensor, ...], y: Tensor):
        if not isinstance(model, Anchored):
            raise TypeError(f"model is a {type(model).__name__}: wrap it, as CenteredModel(net, alpha)")
        model = copy.deepcopy(model)._apply(lambda t: in_precision(t, torch.float64)).eval()
        self.model = model
        self._parameters = list(model.theta.values())
        self._inputs = tuple(t.to(self._parameters[0].device) for t in as_inputs(x, torch.float64))
        # What is computed at w_0 is the same in every call.
        self._call = functools.partial(model.forward_recorded, {}) if isinstance(model, CenteredModel) else model
        outputs = self.outputs(self.theta)
        if outputs.ndim != 2:
            raise ValueError(f"the network's outputs have shape {tuple(outputs.shape)}: give it (n, K), by a flatten")
        self.targets = as_outputs("y", y, *outputs.shape).to(outputs)

    @property
    def theta(self) -> Tensor:
        """(P,), where the model is."""
        return torch.cat([parameter.detach().flatten() for parameter in self._parameters])

    @torch.no_grad()
    def move(self, theta: Tensor) -> None:
        """Put the model at ``theta`` (P,)."""
        parts = theta.to(self._parameters[0]).split([parameter.numel() for parameter in self._parameters])
        for parameter, part in zip(self._parameters, parts, strict=True):
            parameter.copy_(part.view_as(parameter))

    @torch.no_grad()
    def outputs(self, theta: Tensor) -> Tensor:
        """F(theta), (n, K)."""
        self.move(theta)
        return self._call(*self._inputs)

    def __call__(self, theta: Tensor) -> Tensor:
        self.move(theta)
        with torch.enable_grad():
            outputs = self._call(*self._inputs)
        residual = (outputs - self.targets).detach()
        gradients = torch.autograd.grad(outputs, self._parameters, residual, materialize_grads=True)
        # Those that torch 2.6 makes of zeros require gradients.
        return -torch.cat([gradient.detach().flatten() for gradient in gradients])


def gradient_flow(
    model: Anchored,
    x: Tensor | tuple[Tensor, ...],
    y: Tensor,
    times: Sequence[float] | Tensor,
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> Flow:
    """The gradient flow dtheta/ds = -J(w)^T (F - y) of |F - y|^2 / 2 for F = alpha (f(w) - f(w_0)), at ``times``.

    From the theta where ``model`` is, with w = w_0 + theta / alpha, on the time s = alpha^2 t: t is the time of the
    flow dw/dt = -grad_w |alpha f(w) - y|^2 / 2 of the weights. So all alphas run at one speed, and alpha = inf is the
    flow of the linearized model. The trainer's loss is the mean |F - y|^2 / (n K), with which k steps of size eta take
    s = 2 eta k / (n K), and :class:`LinearDynamics` has the closed form of alpha = inf at its time n K s / 2.

    By the Runge-Kutta method of order 8 of Dormand and Prince (scipy's DOP853), whose local error in each component of
    theta is kept below atol + rtol |theta|; between its steps it interpolates with order 7. In float64 and evaluation
    mode, on a copy.

    Args:
        model: a CenteredModel, or a linearized one.
        x: (n, ...) inputs, or a tuple of such tensors.
        y: (n, K) targets, or (n,) integer labels, which become one-hot targets.
        times: (T,) increasing, from 0 on, as values of s.
        rtol, atol: the tolerances.

    Cost: 12 training steps for each step of the method; stability asks for at least s_max^2 s / 6 such steps, s_max the
    largest singular value of J, so that ill-conditioned kernels are slow to follow. Memory: T P numbers.

    Raises:
        TypeError, ValueError: see :class:`ScaledVelocity`; times that do not increase.
        RuntimeError: the flow leaves what float64 can hold, or the tolerance cannot be met.
    """
    found_times = torch.as_tensor(times, dtype=torch.float64).cpu()
    if found_times.ndim != 1 or not len(found_times) or not (found_times.isfinite().all() and found_times[0] >= 0):
        raise ValueError("times must be one or more finite numbers from 0 on: give such a list")
    if not (found_times.diff() > 0).all():
        raise ValueError("times must increase: sort them, and leave out repetitions")
    velocity = ScaledVelocity(model, x, y)
    solved = solve_ivp(
        lambda s, theta: velocity(torch.from_numpy(theta)).cpu().numpy(),
        (0.0, max(found_times[-1].item(), np.finfo(float).tiny)),
        velocity.theta.cpu().numpy(),
        method="DOP853",
        t_eval=found_times.numpy(),
        rtol=rtol,
        atol=atol,
    )
    if not solved.success or not np.isfinite(solved.y).all():
        raise RuntimeError(
            f"the flow could not be followed beyond s = {solved.t[-1] if len(solved.t) else 0:g} ({solved.message}): "
            "give earlier times or a larger rtol"
        )
    theta = torch.from_numpy(solved.y.T.copy())
    outputs = torch.stack([velocity.outputs(each) for each in theta]).cpu()
    losses = (outputs - velocity.targets.cpu()).square().sum((1, 2)) / 2
    return Flow(found_times, theta, outputs, losses, solved.nfev)
