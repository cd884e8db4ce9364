"""One entry of a kernel against gradients that nothing of this package has to do with."""

import torch
from torch import Tensor

from .recording import Network
from .tiles import Kernel

#: Of |J(x)^T u| |J(y)^T v|, which the entry u Theta(x, y) v may be off by.
TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}


def check_an_entry(kernel: Kernel, computed: Tensor) -> None:
    """Raise RuntimeError unless what was ``computed`` between the first examples is the product of their gradients.

    Of a full kernel in directions u and v that are drawn at random. Cost: a pass over two examples on each side, and
    one backward pass, or for a trace one for each output.
    """
    kind, outputs, first = kernel.plan.kind, kernel.plan.findings.outputs, computed[0, 0]
    generator = torch.Generator().manual_seed(0)
    if kind == "full":
        u, v = (torch.randn(1, outputs, generator=generator).to(computed) for _ in range(2))
        found = u[0] @ first @ v[0]
    else:
        u = v = torch.eye(outputs).to(computed)[: outputs if kind == "trace" else 1]
        found = first if kind == "trace" else first[0]
    expected = scale = computed.new_zeros(())
    with kernel.network.installed():
        sides = [_first_outputs(kernel.network, inputs) for inputs in (kernel.left, kernel.right)]
        for cotangents in zip(u, v, strict=True):
            left, right = (_gradient(kernel.network, *each) for each in zip(sides, cotangents, strict=True))
            expected, scale = expected + left @ right, scale + left.norm() * right.norm()
    if scale.isfinite() and not abs(found - expected) <= TOLERANCE.get(computed.dtype, 1e-3) * scale:
        raise RuntimeError(
            f"the kernel of {type(kernel.network.net).__name__} has {found:.6g} where the gradients of two examples "
            f"give {expected:.6g}: a part of it has another backward pass than its forward pass has, or is not the "
            f"layer that it seems to be; compute its Jacobians by torch.autograd instead, and report this"
        )


def _first_outputs(network: Network, inputs: tuple[Tensor, ...]) -> Tensor:
    """Of the first example, with another beside it, as a module may treat one alone otherwise."""
    index = torch.arange(2, device=inputs[0].device) % len(inputs[0])
    return network(tuple(x[index] for x in inputs))[0][0]


def _gradient(network: Network, outputs: Tensor, cotangent: Tensor) -> Tensor:
    parameters = list(network.parameters.values())
    gradients = torch.autograd.grad(outputs, parameters, cotangent, retain_graph=True, materialize_grads=True)
    return torch.cat([gradient.to_dense().flatten() for gradient in gradients])
