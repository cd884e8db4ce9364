"""What float64 passes lose in a network of which a part computes in float32, as linear attention often does.

Relative errors against the Jacobian-vector product of the same network in float64 throughout.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import lazytorch as lt


class LinearAttention(nn.Module):
    """x + out(q (k^T v) / (q sum k)), the quotient in the type ``within`` if there is one."""

    def __init__(self, width: int, within: torch.dtype | None):
        super().__init__()
        self.qkv, self.out, self.within = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width), within

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).to(self.within or x.dtype).chunk(3, -1)
        q, k = F.relu(q), F.relu(k)
        attended = q @ (k.mT @ v) / (q @ k.sum(1, keepdim=True).mT + 1e-15)
        return x + self.out(attended.to(x.dtype))


def network(within: torch.dtype | None) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(*[LinearAttention(8, within) for _ in range(4)])


@torch.no_grad()
def main() -> None:
    start = {name: p.detach().double() for name, p in network(None).named_parameters()}
    theta = {name: t.std() * torch.randn_like(t) for name, t in start.items()}
    x = torch.randn(8, 32, 8)
    exact = copy.deepcopy(network(None)).double()
    expected = torch.func.jvp(lambda w: functional_call(exact, w, (x.double(),)), (start,), (theta,))[1]
    print("| alpha | two float64 passes | with a part in float32 | lazytorch in float32 |\n|---|---|---|---|")
    for alpha in (1e7, 1e10):
        end = {name: t + theta[name] / alpha for name, t in start.items()}
        errors = []
        for within in (None, torch.float32):
            net = network(within).double()
            at_w, at_w_0 = (functional_call(net, w, (x.double(),)) for w in (end, start))
            errors.append(alpha * (at_w - at_w_0))
        model = lt.CenteredModel(network(torch.float32), alpha)
        for name, t in model.theta.items():
            t.copy_(theta[name])
        errors = [(output - expected).norm() / expected.norm() for output in (*errors, model(x))]
        print(f"| {alpha:g} | " + " | ".join(f"{error:.0e}" for error in errors) + " |")


if __name__ == "__main__":
    main()
