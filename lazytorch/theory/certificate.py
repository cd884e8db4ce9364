"""The theorem of lazy training, certified on an instance: its threshold, its bounds, and what is measured of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..anchored import check_alpha
from ..centered import CenteredModel
from .flow import Flow, gradient_flow
from .lazy_bounds import LazyBounds, extreme_values, in_double, jacobian, lazy_bounds

TOLERANCE = 1e-5  # relative, of a bound that is met with equality; the flow errs by less
ROUNDING = 1e-13  # of J_w - J, in units of s_max


@dataclass(frozen=True, eq=False)
class Check:
    """A bound of the theorem beside what was measured.

    Attributes:
        name: of what is bounded.
        statement: the bound, as a formula.
        observed: (T,), measured at the times of the certificate.
        bound: (T,), what it is to stay below, or above if ``is_lower``.
        is_proved: whether the theorem's hypotheses are met, so that the bound holds by proof.
        is_lower: whether it is a lower bound.
    """

    name: str
    statement: str
    observed: Tensor
    bound: Tensor
    is_proved: bool
    is_lower: bool = False

    @property
    def ratios(self) -> Tensor:
        """(T,), bound / observed (observed / bound of a lower one): at least 1 where it holds; inf where 0 is seen."""
        small, large = (self.bound, self.observed) if self.is_lower else (self.observed, self.bound)
        return torch.where(small > 0, large / small, torch.inf)

    @property
    def tightest(self) -> float:
        """The smallest ratio."""
        return self.ratios.min().item()

    @property
    def is_held(self) -> bool:
        """Whether it was observed to hold at every time, within the error of the flow."""
        return self.tightest >= 1 - TOLERANCE

    @property
    def verdict(self) -> str:
        """ "proved and observed", "observed only" (hypotheses not met), or "violated"."""
        if not self.is_held:
            return "violated"
        return "proved and observed" if self.is_proved else "observed only"


@dataclass(frozen=True, eq=False)
class Certificate:
    """What :func:`certify` has found; ``print`` it.

    Attributes:
        alpha: the scale.
        bounds: the theorem's numbers, with the threshold alpha*.
        unmet: the hypotheses that are not met, in words.
        times: (T,), values of s = alpha^2 t.
        checks: by name, loss, displacement, smallest_singular_value, largest_singular_value and lipschitz of the
            network; linear_loss and linear_displacement of its linearization.
    """

    alpha: float
    bounds: LazyBounds
    unmet: tuple[str, ...]
    times: Tensor
    checks: dict[str, Check]

    @property
    def threshold(self) -> float:
        """alpha*, above which the theorem holds; "estimated" where beta is."""
        return self.bounds.threshold

    @property
    def is_contradicted(self) -> bool:
        """Whether a bound that is proved was seen violated: then a beta that was given is too small, or the flow of a
        nearly singular problem has lost its accuracy."""
        return any(check.is_proved and not check.is_held for check in self.checks.values())

    def __str__(self) -> str:
        bounds = self.bounds
        estimated = " (estimated)" if bounds.beta_source == "estimated" else ""
        lines = [
            f"lazy training at alpha = {self.alpha:.4g}, threshold alpha* = {bounds.threshold:.4g}{estimated}: "
            + ("; ".join(self.unmet) or "all hypotheses met"),
            f"J {bounds.shape[0]} x {bounds.shape[1]} with singular values {bounds.s_min:.4g} to {bounds.s_max:.4g}, "
            f"beta = {bounds.beta:.4g} ({bounds.beta_source}), L_0 = {bounds.initial_loss:.4g}, "
            f"s from {self.times[0]:.4g} to {self.times[-1]:.4g}",
            f"{'bound':60}{'least':>10}{'at the end':>12}  verdict    (bound / observed, inverse for >=)",
        ]
        lines += [
            f"{check.statement:60}{check.tightest:10.4g}{check.ratios[-1]:12.4g}  {check.verdict}"
            for check in self.checks.values()
        ]
        return "\n".join(lines)


def certify(
    net: nn.Module,
    x: Tensor | tuple[Tensor, ...],
    y: Tensor,
    alpha: float,
    beta: float | None = None,
    horizon: float = 10.0,
    points: int = 30,
    rtol: float = 1e-10,
) -> Certificate:
    """Hold gradient flow of ``net`` at scale ``alpha``, and of its linearization, against the theorem of lazy training.

    The theorem and its derivation: :class:`LazyBounds`. The model is centered, alpha (f(w) - f(w_0)), so that L_0 =
    |y|^2 / 2, and the loss is |alpha (f(w) - f(w_0)) - y|^2 / 2, not a mean. Singular values are those of the whole
    Jacobian, n K x P. Both flows are integrated (:func:`gradient_flow`), and every bound is checked at ``points`` times
    s = alpha^2 t up to ``horizon`` / s_min^2, where the bound of the loss is exp(-horizon / 2) L_0.

    Of every bound the certificate says "proved and observed" where the theorem's hypotheses are met, "observed only"
    where they are not (alpha <= alpha*, or beta is an estimate) and the bound held nevertheless, or "violated". What
    concerns the linearization needs a Jacobian of full rank alone. beta is proved for a :class:`TwoLayerSmooth`,
    estimated for others (:func:`lazy_bounds`), and along the flow |J_w - J| <= beta |w - w_0| is checked as well.

    In float64 and evaluation mode, on a copy.

    Args:
        net: any smooth module whose examples do not interact, with outputs (n, K).
        x: (n, ...) inputs, or a tuple of such tensors, which are the arguments of ``net``.
        y: (n, K) targets, or (n,) integer labels, which become one-hot targets.
        alpha: the scale, finite.
        beta: a Lipschitz constant of J that is known for ``net``, taken as proved.
        horizon, points: of the times.
        rtol: of the flow.

    Cost: two flows, of at least 2 horizon (s_max / s_min)^2 training steps each; ``points`` Jacobians of n K backward
    passes and their singular values; memory ``points`` P and n K P numbers.

    Raises:
        ValueError: alpha = inf; or as :func:`lazy_bounds`: the Jacobian has not full rank, there are kinks, the targets
            are 0 or of another shape.
        UntraceableModule: ``net`` decides in Python by the values of tensors.
    """
    return next(certificates(net, x, y, (alpha,), beta, horizon, points, rtol))


def certificates(
    net: nn.Module,
    x: Tensor | tuple[Tensor, ...],
    y: Tensor,
    alphas: Sequence[float],
    beta: float | None = None,
    horizon: float = 10.0,
    points: int = 30,
    rtol: float = 1e-10,
) -> Iterator[Certificate]:
    """As :func:`certify`, at each of ``alphas``: the Jacobian at w_0 and the flow of the linearization are shared."""
    if any(check_alpha(alpha) == math.inf for alpha in alphas):
        raise ValueError("alpha = inf is the linearization, of which every certificate tells: give a finite alpha")
    bounds = lazy_bounds(net, x, y, beta)
    net, inputs = in_double(net, x)
    times = horizon / bounds.s_min**2 * torch.arange(1, points + 1, dtype=torch.float64) / points
    atol = rtol * math.sqrt(2 * bounds.initial_loss / bounds.shape[1]) / bounds.s_max  # |theta| >= |y| / s_max
    linear = gradient_flow(CenteredModel(net, math.inf), inputs, y, times, rtol, atol)
    for alpha in alphas:
        flow = gradient_flow(CenteredModel(net, alpha), inputs, y, times, rtol, atol)
        unmet = [f"alpha <= alpha* = {bounds.threshold:.4g}"] if alpha <= bounds.threshold else []
        unmet += ["beta is estimated, from below"] if bounds.beta_source == "estimated" else []
        checks = (*_network_checks(net, inputs, flow, bounds, alpha, not unmet), *_linear_checks(linear, bounds, alpha))
        yield Certificate(alpha, bounds, tuple(unmet), times, {check.name: check for check in checks})


def _network_checks(
    net: nn.Module, inputs: tuple[Tensor, ...], flow: Flow, bounds: LazyBounds, alpha: float, is_proved: bool
) -> Sequence[Check]:
    moved, initial = flow.theta.norm(dim=1) / alpha, jacobian(net, inputs)
    found = [jacobian(net, inputs, weights) for weights in _weights(net, flow.theta, alpha)]
    smallest, largest = torch.tensor([extreme_values(each) for each in found], dtype=torch.float64).T
    changes = torch.stack([torch.linalg.matrix_norm(each - initial, 2) for each in found])
    most_changed = bounds.beta * moved + ROUNDING * bounds.s_max
    is_lipschitz = bounds.beta_source != "estimated"
    low, high = (torch.full_like(moved, bound) for bound in bounds.corridor)
    most = torch.full_like(moved, bounds.displacement(alpha))
    return (
        Check("loss", "L <= L_0 exp(-s_min^2 s / 2)", flow.losses, bounds.loss(flow.times), is_proved),
        Check("displacement", "|w - w_0| <= 6 sqrt(2 L_0) s_max / (alpha s_min^2)", moved, most, is_proved),
        Check("smallest_singular_value", "s(J_w) >= s_min / 2", smallest, low, is_proved, is_lower=True),
        Check("largest_singular_value", "s(J_w) <= 3 s_max / 2", largest, high, is_proved),
        Check("lipschitz", "|J_w - J| <= beta |w - w_0|", changes, most_changed, is_lipschitz),
    )


def _linear_checks(flow: Flow, bounds: LazyBounds, alpha: float) -> Sequence[Check]:
    moved = flow.theta.norm(dim=1) / alpha
    most = torch.full_like(moved, bounds.linear_displacement(alpha))
    loss = bounds.linear_loss(flow.times)
    return (
        Check("linear_loss", "linearized: L <= L_0 exp(-2 s_min^2 s)", flow.losses, loss, True),
        Check("linear_displacement", "linearized: |u - w_0| <= sqrt(2 L_0) s_max / (alpha s_min^2)", moved, most, True),
    )


def _weights(net: nn.Module, theta: Tensor, alpha: float) -> Iterator[dict[str, Tensor]]:
    """w = w_0 + theta / alpha, name by name, at every row of ``theta`` (T, P)."""
    parameters = {name: p.detach() for name, p in net.named_parameters() if p.requires_grad}
    for row in theta:
        parts = row.to(next(iter(parameters.values()))).split([p.numel() for p in parameters.values()])
        yield {name: p + part.view_as(p) / alpha for (name, p), part in zip(parameters.items(), parts, strict=True)}
