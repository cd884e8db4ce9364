"""The catapult: gradient descent with a step above 2 / lambda_0, of models that are not linear.

Lewkowycz, Bahri, Dyer, Sohl-Dickstein & Gur-Ari, "The large learning rate phase of deep learning: the catapult
mechanism", 2020. With lambda_0 the largest curvature at the start (the top eigenvalue of the tangent kernel Theta for
sum |f - y|^2 / 2, of 2 Theta / (n K) for the mean square), a step eta < 2 / lambda_0 trains at constant curvature;
above it the loss grows, until the weights have moved so far that lambda has fallen below 2 / eta, and then decreases;
above c / lambda_0 (c = 4 for the toy of small targets) it diverges.

**The toy**, f = n^{-1/2} (v.u) x at x = 1 with the loss (f - y)^2 / 2: with Delta = f - y and the tangent kernel
lambda = (|u|^2 + |v|^2) / n, u' = u - eta Delta v / sqrt(n) and v' = v - eta Delta u / sqrt(n) give, exactly,

    Delta'  = (1 - eta lambda + eta^2 Delta f / n) Delta
    lambda' = lambda + (eta Delta / n) (eta lambda Delta - 4 f)

Erratum: these are usually printed with f for Delta, which is right for y = 0 only.

In a = |u + v|^2 / n and b = |u - v|^2 / n, for which f = sqrt(n) (a - b) / 4 and lambda = (a + b) / 2, the same is
a' = (1 - s)^2 a, b' = (1 + s)^2 b with s = eta Delta / sqrt(n): |f| <= sqrt(n) lambda / 2, on which scale f is rounded.

**Scale and time.** alpha f with the step eta / alpha^2 is the toy at alpha^2 n: no finite alpha changes c. Above
2 / lambda_0 the fastest mode grows like (eta lambda_0 - 1)^t from its start until it reaches alpha times the outputs'
own scale, so at t = log(alpha) / log(eta lambda_0 - 1) + const, and then the weights have moved by as much as at
alpha = 1. Linearization, alpha -> inf, is a limit at fixed time.
"""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Chi2

from .descent import descend


class CatapultToy(nn.Module):
    """x -> n^{-1/2} (v.u) x, with the (n,) weights ``u`` and ``v``."""

    def __init__(self, u: Tensor, v: Tensor):
        super().__init__()
        self.u, self.v = nn.Parameter(u.clone()), nn.Parameter(v.clone())

    def forward(self, x: Tensor) -> Tensor:
        """(...,) inputs to (...,) outputs."""
        return self.u @ self.v / math.sqrt(len(self.u)) * x

    @torch.no_grad()
    def state(self) -> tuple[Tensor, Tensor]:
        """f and the tangent kernel lambda = (|u|^2 + |v|^2) / n, at x = 1."""
        one = self.u.new_ones(())
        return self(one), (self.u.square().sum() + self.v.square().sum()) / len(self.u)


def catapult_recursion(
    f: Tensor, kernel: Tensor, target: float, lr: Tensor | float, n: int, steps: int
) -> tuple[Tensor, Tensor]:
    """The toy's outputs and kernels (steps + 1, ...) from the exact recursion, from (...,) values at the start.

    Erratum: the recursion is usually printed with f in place of Delta = f - y, which is right for y = 0 alone.
    """
    outputs, kernels = [f], [kernel]
    for _ in range(steps):
        delta = f - target
        f, kernel = (
            target + (1 - lr * kernel + lr**2 * delta * f / n) * delta,
            kernel + lr * delta / n * (lr * kernel * delta - 4 * f),
        )
        outputs.append(f)
        kernels.append(kernel)
    return torch.stack(outputs), torch.stack(kernels)


def train_toy(toy: CatapultToy, target: float, lr: float, steps: int) -> tuple[Tensor, Tensor]:
    """As :func:`catapult_recursion`, measured: the module's own while it is trained, as far as they are finite."""
    one = toy.u.new_ones(())
    states = [toy.state() for _ in descend(toy.parameters(), lambda: (toy(one) - target).square() / 2, lr, steps)]
    outputs, kernels = map(torch.stack, zip(*states, strict=True))
    return outputs, kernels


def toy_starts(n: int, draws: int) -> tuple[Tensor, Tensor]:
    """Outputs and kernels (draws,) of toys whose 2 n weights are drawn from N(0, 1), by torch's global generator.

    u + v and u - v are independent there, so that a and b are 2 chi^2_n / n each.
    """
    a, b = 2 / n * Chi2(torch.tensor(n, dtype=torch.float64)).sample((2, draws))
    return math.sqrt(n) * (a - b) / 4, (a + b) / 2
