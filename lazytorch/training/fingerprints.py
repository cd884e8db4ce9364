"""What tells two networks, or two losses, apart: digests of what they compute."""

import copy
import hashlib
import re

import torch
from torch import Tensor, nn

from .objective import Objective

DIGITS = 4  # of the largest output; what other processors round differently lies far below
INPUTS = 2


@torch.no_grad()
def network_fingerprint(net: nn.Module, x: Tensor) -> str:
    """Of w_0, of the modules' descriptions, and of the outputs at w_0 and at one perturbed w on the first two of ``x``.

    An edit that leaves the weights alone (another activation function, say) shows in the outputs. They are computed in
    float64 on the CPU, in evaluation mode, on a copy. Cost: two forward passes, and a copy in float64.
    """
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-fA-F]+", "", repr(net)).encode())
    for name, tensor in net.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    net = copy.deepcopy(net).cpu().double().eval()
    x = x[:INPUTS].cpu()
    x = x.double() if x.is_floating_point() else x
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        outputs = [net(x)]
        for parameter in net.parameters():
            parameter += 0.1 * parameter.norm() / max(1, parameter.numel()) ** 0.5 * torch.randn_like(parameter)
        outputs.append(net(x))
    for output in outputs:
        digest.update(_rounded(output))
    return digest.hexdigest()[:16]


@torch.no_grad()
def loss_fingerprint(objective: Objective, labels: Tensor, outputs: int) -> str:
    """Of the loss of fixed outputs (n, ``outputs``) with the first ``labels``, on the CPU."""
    labels = labels[:8].cpu()
    labels = labels.double() if labels.is_floating_point() else labels
    grid = torch.arange(len(labels) * outputs, dtype=torch.float64)
    value = objective(torch.sin(1 + grid).reshape(len(labels), outputs), labels)
    return hashlib.sha256(_rounded(value.double())).hexdigest()[:16]


def _rounded(values: Tensor) -> bytes:
    values = torch.nan_to_num(values.detach().double())
    unit = values.abs().max().clamp(min=1e-300) / 10**DIGITS
    return (values / unit).round().to(torch.int64).numpy().tobytes() + f"{unit.item():.{DIGITS}e}".encode()
