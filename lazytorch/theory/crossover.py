"""Where training passes from feature learning to lazy: the scale at which the tangent kernel has moved so far."""

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..centered import CenteredModel
from ..functional import in_precision
from ..kernels import empirical_ntk, kernel_drift, kernel_operator, top_eigenpairs

MOMENTUM = 0.9
FURTHEST = 16  # factors of 4 from the first scale within which the crossover is looked for


def crossover(
    drift: Callable[[float], float], threshold: float = 0.5, start: float = 1.0, tolerance: float = 0.05
) -> float:
    """alpha* at which ``drift``, a function of the scale that falls as it grows, passes ``threshold``.

    From ``start`` by factors of 4 until the threshold is between two scales, then by bisection in log alpha until they
    are within the relative ``tolerance``; their geometric mean. ``drift`` is for instance a :class:`TrainingDrift`;
    infinity, as of a training that diverges, is above every threshold. Cost: 2 and log2(log 4 / log(1 + tolerance))
    trainings, 7 for 0.05, if ``start`` is within a factor of 4.

    Raises:
        ValueError: the threshold is not passed within factors of 4^16, or the drift is nan.

    Source: Geiger, Spigler, Jacot & Wyart, "Disentangling feature and lazy training in deep neural networks" (2020).
    """
    is_feature = _above(drift, threshold)
    rises = is_feature(start)
    near, step = start, 4.0 if rises else 0.25
    for _ in range(FURTHEST):
        far = near * step
        if is_feature(far) != rises:
            break
        near = far
    else:
        raise ValueError(
            f"the drift does not pass {threshold:g} between alpha = {start:g} and {far:.1g}: give another threshold, "
            f"or a start closer to the crossover"
        )
    low, high = sorted((near, far))
    while high / low > 1 + tolerance:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if is_feature(middle) else (low, middle)
    return math.sqrt(low * high)


def _above(drift: Callable[[float], float], threshold: float) -> Callable[[float], bool]:
    def is_feature(alpha: float) -> bool:
        found = drift(alpha)
        if math.isnan(found):
            raise ValueError(f"the drift at alpha = {alpha:g} is nan: it must be a number, or inf")
        return found > threshold

    return is_feature


class TrainingDrift:
    """alpha -> |Theta_t - Theta_0| / |Theta_0| on ``probe``, at the end of a training of ``net`` at the scale alpha.

    Full-batch descent on theta with heavy-ball momentum 0.9 for the mean square R of all outputs, in the type of
    ``net``; kernels are in float64. What makes scales and widths comparable:

    * training ends when R has fallen to ``share`` of what it was at the start, wherever that takes the network. A fixed
      time would stop some networks on their plateau, and let others go on where nothing is left to learn.
    * steps are ``step`` of the largest stable one, (1 + 0.9) n K / lambda_max(Theta_0): at large alpha, trainings of
      one kernel go through the same losses. Where learning makes the kernel so large that they diverge, the drift is
      inf.

    A factor c of the outputs is one of alpha: c f at alpha has the drift of f at c alpha. How alpha* depends on the
    width h is therefore a matter of the parametrisation. In that of the tangent kernel (:func:`models.ntk_mlp`: weights
    N(0, 1), layers times inputs^(-1/2), the last one h^(-1/2)) Theta_0 has a limit as h grows, and weights of order 1
    move by O(1 / (alpha sqrt(h))). The squares of the moves of h units add up to a drift that depends on alpha sqrt(h)
    alone: alpha* ~ h^(-1/2). Terms that are linear in them have signs at random, and add O(1 / (alpha h)), the more the
    more outputs there are. For others:

    * standard weights N(0, 1/inputs) with two hidden layers or more: the same exponent where h is far above the inputs,
      as the kernel is h times as large but for the share of the first layer, which stops moving.
    * the same with one hidden layer: a larger exponent, as all of the kernel is that of the output weights, which is
      moved by the others alone.
    * Xavier weights N(0, 2 / (inputs + outputs)): a smaller one. Where h passes the inputs and the classes, the first
      and the last layer change their order in h; with one hidden layer alpha* ~ 1.
    * outputs with another h^(-1/2) (the mean-field scaling): alpha* ~ 1. The alpha of the source's code is sqrt(h)
      times that of the article.

    Measured on digits (64 inputs, one output, h from 64 to 1024, two draws): -0.64 for standard weights with one hidden
    layer, -0.37 with two (-0.57 from 256 to 512); Xavier -0.15 (-0.06 from 1024 to 4096) and -0.23. In the tangent
    kernel's parametrisation with ten outputs, h from 32 to 256: -0.65.

    Args:
        net: any module; it is copied.
        x, targets: (n, ...) inputs and (n, K) targets of the centered outputs, on its device.
        probe: (m, ...) inputs on which the kernel is measured; x if None.
        share, step: see above.
        steps: after so many, training has failed to end.

    Raises:
        ValueError: (call) the loss is still above ``share`` after ``steps``.

    Cost of a call: at most ``steps`` steps, and a kernel of the probe.
    """

    def __init__(
        self,
        net: nn.Module,
        x: Tensor,
        targets: Tensor,
        probe: Tensor | None = None,
        share: float = 0.25,
        step: float = 0.1,
        steps: int = 10_000,
    ):
        self.net, self.x, self.targets = copy.deepcopy(net), x, targets
        self.share, self.steps = share, steps
        self._double = copy.deepcopy(net)._apply(lambda t: in_precision(t, torch.float64))
        self._probe = (x if probe is None else probe).double()
        self.kernel = empirical_ntk(self._double, self._probe)
        top = top_eigenpairs(kernel_operator(self._double, x.double()), 1)[0].max().item()
        self.lr = step * (1 + MOMENTUM) * targets.numel() / top

    def __call__(self, alpha: float) -> float:
        """The drift at the end of training, inf if it diverges."""
        model = CenteredModel(self.net, alpha)
        return self._drift(model) if self._train(model) else math.inf

    def _train(self, model: CenteredModel) -> bool:
        """Descend to the share; whether the loss stayed finite."""
        optimizer = torch.optim.SGD(model.parameters(), self.lr, MOMENTUM)
        end = self.share * self.targets.square().mean().item()
        for _ in range(self.steps):
            loss = F.mse_loss(model(self.x), self.targets)
            if not (value := loss.item()) > end:
                return math.isfinite(value)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        raise ValueError(
            f"at alpha = {model.alpha:g} the loss is {value:.3g} after {self.steps} steps, above {end:.3g}: give more "
            f"steps, a larger share, or a wider network"
        )

    def _drift(self, model: CenteredModel) -> float:
        moved = empirical_ntk(self._double, self._probe, weights=model.weights(torch.float64))
        return kernel_drift(self.kernel, moved) if moved.isfinite().all() else math.inf
