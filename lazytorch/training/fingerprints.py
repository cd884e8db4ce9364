"""What tells two networks, or two losses, apart: digests of what they compute."""

import copy
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .objective import Objective

DIGITS = 4  # of the largest output; what other processors round differently lies far below
INPUTS = 2


@torch.no_grad()
def network_fingerprint(net: nn.Module, x: Tensor) -> str:
    """Of w_0, of the modules' descriptions, and of the outputs at w_0 and at one perturbed w on the first two of ``x``.

    An edit that leaves the weights alone (another activation function, say) shows in the outputs. They are computed in
    float64 on the CPU, or as they are by a network that cannot, in evaluation mode, on a copy. Cost: two forward
    passes, and a copy in float64.
    """
    digest = hashlib.sha256(re.sub(r" at 0x[0-9a-fA-F]+", "", repr(net)).encode())
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    x = x[:INPUTS]
    try:
        outputs = _outputs(copy.deepcopy(net).cpu().double(), _in_float64(x))
    except Exception:  # it makes tensors of another type or device itself
        outputs = _outputs(copy.deepcopy(net), x)
    for output in outputs:
        digest.update(_rounded(output))
    return digest.hexdigest()[:16]


@torch.no_grad()
def loss_fingerprint(objective: Objective, labels: Tensor, outputs: Tensor) -> str:
    """Of the loss of fixed outputs, of the shape and type of ``outputs`` (n, ...), with ``labels`` of as many.

    Computed as the network's are.
    """
    fixed = torch.sin(1 + torch.arange(outputs.numel(), dtype=torch.float64)).reshape(outputs.shape)
    with _seeded():
        try:
            value = objective(fixed, _in_float64(labels))
        except Exception:  # it holds tensors, of class weights say
            value = objective(fixed.to(outputs), labels)
    return hashlib.sha256(_rounded(value)).hexdigest()[:16]


def _outputs(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """At w_0 and at a perturbed w."""
    generator = torch.Generator().manual_seed(0)
    net.eval()
    with _seeded():
        start = net(x)
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)
            size = parameter.norm() / max(1, parameter.numel()) ** 0.5
            parameter += 0.1 * torch.where(size > 0, size, 1) * noise
        return start, net(x)


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(0)
        yield


def _in_float64(tensor: Tensor) -> Tensor:
    return tensor.cpu().double() if tensor.is_floating_point() else tensor.cpu()


def _rounded(values: Tensor) -> bytes:
    values = torch.nan_to_num(values.detach().cpu().double())
    unit = values.abs().max().clamp(min=1e-300) / 10**DIGITS
    return (values / unit).round().to(torch.int64).numpy().tobytes() + f"{unit.item():.{DIGITS}e}".encode()
