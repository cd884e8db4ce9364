"""What tells two networks, or two losses, apart: digests of what they compute."""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .objective import Objective

DIGITS = 4  # of the largest number that are kept: other processors and torch versions differ far below
DIGITS_FLOAT32 = 2  # the same of what cannot be computed in float64
INPUTS = 2
SCALES = (0.1, 1.0, 30.0)  # of the outputs on which losses are compared


@torch.no_grad()
def network_fingerprint(net: nn.Module, x: Tensor) -> str:
    """Of the modules' kinds and settings, of w_0, and of the outputs at w_0 and at one perturbed w on two inputs.

    The inputs are of the shape of ``x`` (n, ...), n > 0: noise, or the first of ``x`` where they are integers. An edit
    that leaves the weights alone (another activation function, say) shows in the outputs. They are computed in float64
    on the CPU, or as they are by a network that cannot, in evaluation mode, on a copy. Cost: two forward passes, and a
    copy in float64.
    """
    digest = hashlib.sha256(repr([(name, _settings(part)) for name, part in net.named_modules()]).encode())
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    noise = torch.randn((INPUTS, *x.shape[1:]), generator=torch.Generator().manual_seed(0))
    x = noise.to(x) if x.is_floating_point() else x[:INPUTS]
    try:
        outputs, digits = _outputs(copy.deepcopy(net).cpu().double(), _in_float64(x)), DIGITS
    except Exception:  # it makes tensors of another type or device itself
        outputs, digits = _outputs(copy.deepcopy(net), x), DIGITS_FLOAT32
    for output in outputs:
        digest.update(_rounded(output, digits))
    return digest.hexdigest()[:16]


@torch.no_grad()
def loss_fingerprint(objective: Objective, labels: Tensor, outputs: Tensor) -> str:
    """Of the loss of fixed outputs, of the shape and type of ``outputs`` (n, ...), with ``labels`` of as many.

    Computed as the network's are, for outputs of three sizes.
    """
    fixed = torch.sin(1 + torch.arange(outputs.numel(), dtype=torch.float64)).reshape(outputs.shape)
    digest = hashlib.sha256()
    for scale in SCALES:
        with _seeded():
            try:
                value, digits = objective(scale * fixed, _in_float64(labels)), DIGITS
            except Exception:  # it holds tensors, of class weights say
                value, digits = objective((scale * fixed).to(outputs), labels), DIGITS_FLOAT32
        digest.update(_rounded(value, digits))
    return digest.hexdigest()[:16]


def _settings(part: nn.Module) -> tuple:
    """A module's kind, and the plain values that its function depends on beside its tensors."""
    kind = f"{type(part).__module__}.{type(part).__qualname__}"
    own = not type(part).__module__.startswith("torch.")
    names = (
        [n for n in vars(part) if not n.startswith("_") and n != "training"]
        if own
        else getattr(part, "__constants__", [])
    )
    plain = ((name, getattr(part, name, None)) for name in sorted(names))
    return kind, [(n, value) for n, value in plain if isinstance(value, (bool, int, float, str, tuple, type(None)))]


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


def _rounded(values: Tensor, digits: int = DIGITS) -> bytes:
    values = torch.nan_to_num(values.detach().cpu().double())
    unit = values.abs().max().clamp(min=1e-300) / 10**digits
    return (values / unit).round().to(torch.int64).numpy().tobytes() + f"{unit.item():.{digits - 1}e}".encode()
