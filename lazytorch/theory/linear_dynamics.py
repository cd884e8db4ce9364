"""Training of the linearized model under the mean square error, in closed form.

The model F(t) = F(0) + J theta(t) and the trainer's loss R = |F - Y|^2 / (n K) on n inputs with K outputs. With the
tangent kernel Theta = J J^T, c = 2 / (n K) and the residual r = F - Y, stacked to n K numbers, these decouple in the
eigenbasis of Theta (Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models", NeurIPS 2019, 2.2):

    gradient flow         dr/dt = -c Theta r
    gradient descent      r' = (I - eta c Theta) r
    heavy-ball momentum   v' = mu v + c Theta r,   r' = r - eta v'     (torch.optim.SGD's), v = 0 at the start

In a direction of eigenvalue lambda all three multiply the residual by 1 - c lambda g, with g the time for which the
initial residual would have had to act undiminished, and outputs at other points move by -c Theta_test,train g r(0).
g is computed without dividing by a small lambda.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernels.matrix import kernel_matrix, rounding_level, symmetric_matrix


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Outputs and losses at the times asked for, in float64; what concerns test points is None if there are none.

    Attributes:
        outputs: (..., n, K), with the shape of the times in front; ``test_outputs``: (..., m, K).
        losses: (...), R = |F - Y|^2 / (n K); ``test_losses``: (...), likewise over the m test points.
    """

    outputs: Tensor
    losses: Tensor
    test_outputs: Tensor | None = None
    test_losses: Tensor | None = None


class LinearDynamics:
    """Closed-form training of the linearized model whose tangent kernel is ``kernel``, under R = |F - Y|^2 / (n K).

    Args:
        kernel: (n, n, K, K), the full kernel of the training inputs with themselves, in the type it was computed in.
        targets: (n, K), or (n,) integer labels, which become one-hot targets.
        test_kernel: (m, n, K, K), the full kernel of test with training inputs.
        test_targets: (m, K) or (m,) labels, for the test losses.
        start: (n, K), the outputs at time 0; None for zeros, which is where a centered model starts.
        test_start: (m, K), likewise at the test points.

    Attributes:
        eigenvalues: (n K,) float64, those of ``kernel``, ascending, with the clipped ones at 0.
        clipped: how many eigenvalues are not above the kernel's rounding (``kernels.matrix.rounding_level``). Their
            directions keep their residual, and add to test outputs only while c lambda_max g < 1 / sqrt(eps), eps
            of the kernels' own types (7e7 in float64, 3e3 in float32), after which what they would add is rounding.
        clipped_residual: the norm of the initial residual in those directions over its whole norm.

    Cost: one symmetric eigendecomposition of size n K, about 9 (n K)^3 operations in float64; then (m + n) n K^2
    operations for each time. Everything lives on the kernel's device.

    Raises:
        ValueError: shapes that do not fit each other, a kernel that is not symmetric or not positive semi-definite.
    """

    def __init__(
        self,
        kernel: Tensor,
        targets: Tensor,
        test_kernel: Tensor | None = None,
        test_targets: Tensor | None = None,
        start: Tensor | None = None,
        test_start: Tensor | None = None,
    ):
        if kernel.ndim != 4:
            raise ValueError(f'kernel has shape {tuple(kernel.shape)}: give the full one, (n, n, K, K), kind="full"')
        n, outputs = len(kernel), kernel.shape[-1]
        values, self._vectors = torch.linalg.eigh(symmetric_matrix(kernel))
        rounding = rounding_level(kernel)
        if values[0] < -math.sqrt(torch.finfo(kernel.dtype).eps) * values[-1].abs() - rounding:
            raise ValueError(
                f"kernel has the eigenvalue {values[0]:.1e}, the largest is {values[-1]:.1e}: it is not positive "
                "semi-definite, so no tangent kernel"
            )
        self._trained = values > rounding
        self._long = max(torch.finfo(k.dtype).eps for k in (kernel, test_kernel) if k is not None) ** -0.5
        self.eigenvalues = values.where(self._trained, 0.0)
        self._rates = 2 / (n * outputs) * self.eigenvalues
        self._shape = n, outputs
        self._targets = as_outputs("targets", targets, n, outputs).to(values)
        self._start = _start("start", start, n, outputs).to(values)
        self._residual = self._vectors.T @ (self._start - self._targets).flatten()
        self.clipped = int((~self._trained).sum())
        norm = self._residual.norm().item()
        self.clipped_residual = self._residual[~self._trained].norm().item() / norm if norm > 0 else 0.0
        self._test(test_kernel, test_targets, test_start)

    def _test(self, kernel: Tensor | None, targets: Tensor | None, start: Tensor | None) -> None:
        """Take in what concerns the test points."""
        self._test_map = self._test_targets = self._test_start = None
        if kernel is None:
            if targets is not None or start is not None:
                raise ValueError("test_targets and test_start need a test_kernel: give it, empirical_ntk(net, test, x)")
            return
        (n, outputs), m = self._shape, len(kernel)
        if kernel.shape != (m, n, outputs, outputs):
            raise ValueError(
                f"test_kernel has shape {tuple(kernel.shape)}, not (m, {n}, {outputs}, {outputs}): give the full "
                "kernel of test with training inputs, empirical_ntk(net, test, x)"
            )
        # (m K, n K), from components of the initial residual to velocities of the test outputs.
        self._test_map = -2 / (n * outputs) * (kernel_matrix(kernel).to(self._vectors) @ self._vectors)
        self._test_start = _start("test_start", start, m, outputs).to(self._vectors)
        if targets is not None:
            self._test_targets = as_outputs("test_targets", targets, m, outputs).to(self._vectors)

    def largest_stable_step(self, momentum: float = 0.0) -> float:
        """The step size 2 (1 + mu) / (c lambda_max) = (1 + mu) n K / lambda_max, below which descent converges."""
        fastest = self._rates[-1].item()
        return 2 * (1 + momentum) / fastest if fastest > 0 else math.inf

    def flow(self, times: float | Sequence[float] | Tensor) -> Trajectory:
        """Gradient flow at ``times`` (...), in [0, inf]: r(t) = exp(-c Theta t) r(0).

        A step of size eta takes the time eta, so k steps of gradient descent follow the flow to t = k eta (with
        momentum mu, to k eta / (1 - mu)). t = inf is the least-squares solution closest to the start.
        """
        times = self._vector(times)
        if not (times >= 0).all():
            raise ValueError(f"times must be in [0, inf], got {times.min().item()}: leave out the others")
        return self._trajectory(times, lambda t: flow_time(self._rates, t))

    def descent(self, steps: int | Sequence[int] | Tensor, lr: float, momentum: float = 0.0) -> Trajectory:
        """Full-batch gradient descent after ``steps`` (...) steps of size ``lr`` with heavy-ball ``momentum``.

        Exactly what ``torch.optim.SGD(lr, momentum)`` does to the linearized model, at a cost that grows as the
        logarithm of the number of steps. Above :meth:`largest_stable_step` the outputs grow and end as non-finite.
        """
        steps = self._vector(steps)
        if not ((steps >= 0) & (steps == steps.round()) & (steps < 2**53)).all():
            raise ValueError("steps must be whole numbers, 0 or more: round them")
        if not (0 < lr < math.inf and 0 <= momentum < 1):
            raise ValueError(f"lr={lr} must be positive and finite, momentum={momentum} in [0, 1): correct them")
        return self._trajectory(steps, lambda t: descent_time(self._rates, t, lr, momentum))

    def _vector(self, times) -> Tensor:
        return torch.as_tensor(times, dtype=torch.float64, device=self._vectors.device)

    def _trajectory(self, times: Tensor, effective_time: Callable[[Tensor], Tensor]) -> Trajectory:
        """``effective_time`` maps times (T,) to g (T, n K)."""
        time = effective_time(times.flatten())
        # In a clipped direction the test kernel is rounding, which must not be multiplied by much.
        moved = time.where(self._trained | (self._rates[-1] * time < self._long), 0.0) * self._residual
        change = (self._rates * moved) @ self._vectors.T
        outputs = self._start - change.reshape(*times.shape, *self._start.shape)
        losses = (outputs - self._targets).square().mean((-2, -1))
        if self._test_map is None or self._test_start is None:
            return Trajectory(outputs, losses)
        test_outputs = self._test_start + (moved @ self._test_map.T).reshape(*times.shape, *self._test_start.shape)
        if self._test_targets is None:
            return Trajectory(outputs, losses, test_outputs)
        return Trajectory(outputs, losses, test_outputs, (test_outputs - self._test_targets).square().mean((-2, -1)))


def flow_time(rates: Tensor, times: Tensor) -> Tensor:
    """g = (1 - exp(-rate t)) / rate, and t at rate 0: (T, N) from rates (N,) and times (T,)."""
    times = times[:, None]
    return torch.where(rates > 0, -torch.expm1(-rates * times) / rates, times)


def descent_time(rates: Tensor, steps: Tensor, lr: float, momentum: float) -> Tensor:
    """g after ``steps`` (T,) steps of descent with momentum, (T, N) from rates (N,).

    With a = lr rate, and g and the velocity w in units of lr, w' = mu w + 1 - a g and g' = g + w'. A step is therefore
    a matrix I + B on (g, w, 1), and so is every number of steps: (I + B)(I + B) = I + (2 B + B B). Powers by squaring,
    kept as their difference from I, lose neither a tiny a nor anything at critical damping, where eigenvectors merge.
    """
    power = rates.new_zeros(len(rates), 3, 3)
    power[:, :2, 0] = -lr * rates[:, None]
    power[:, :2, 1] = rates.new_tensor([momentum, momentum - 1])
    power[:, :2, 2] = 1
    state = rates.new_tensor([0, 0, 1]).repeat(len(steps), len(rates), 1)
    remaining = steps.long()
    while remaining.any():
        odd = remaining % 2 == 1
        state[odd] += torch.einsum("nij,tnj->tni", power, state[odd])
        power = 2 * power + power @ power
        remaining = remaining // 2
    return lr * state[..., 0]


def as_outputs(name: str, targets: Tensor, n: int, outputs: int) -> Tensor:
    """``targets`` (n, K), or those that integer labels (n,) stand for."""
    if targets.shape == (n,) and not targets.is_floating_point():
        if not 0 <= targets.min() <= targets.max() < outputs:
            raise ValueError(f"{name} has labels from {targets.min()} to {targets.max()} for {outputs} outputs")
        return F.one_hot(targets.long(), outputs)
    return _check_shape(name, targets, n, outputs)


def _start(name: str, start: Tensor | None, n: int, outputs: int) -> Tensor:
    return torch.zeros(n, outputs) if start is None else _check_shape(name, start, n, outputs)


def _check_shape(name: str, values: Tensor, n: int, outputs: int) -> Tensor:
    if values.shape != (n, outputs):
        raise ValueError(f"{name} has shape {tuple(values.shape)}: give one row an input, ({n}, {outputs})")
    return values
