"""The empirical tangent kernel Theta(x1, x2) = J(x1) J(x2)^T of a module, exactly."""

import torch
from torch import Tensor, nn

from ..anchored import Anchored
from ..functional import call

KINDS = ("full", "trace", "diagonal")


def empirical_ntk(net: nn.Module, x1: Tensor, x2: Tensor | None = None, kind: str = "full", weights=None) -> Tensor:
    """The tangent kernel over the trainable parameters of ``net``, from per-example Jacobians.

    kind="full": (n1, n2, K, K), entry [i, j, k, l] = df_k(x1_i) . df_l(x2_j); "trace": (n1, n2), its sum over k = l;
    "diagonal": (n1, n2, K), its entries k = l. Output shapes other than (n, K) are flattened to K.

    Jacobians are contracted parameter by parameter. Cost: K backward passes for every example; memory: n K times the
    largest parameter.

    Args:
        net: any module whose examples do not interact; a :class:`CenteredModel` means its network at ``weights()``.
        x1: (n1, ...) inputs.
        x2: (n2, ...) inputs; None means x1.
        weights: dict name -> tensor, values to use instead of the module's own parameters (and buffers); the inputs
            and everything else floating are converted to their type.

    Raises:
        ValueError: unknown ``kind``, or a batch-mixing module in training mode.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}")
    if isinstance(net, Anchored):
        net = net.to_module()
    _refuse_mixing(net)
    tensors = values_at(net, weights)
    trainable = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    if not trainable:
        raise ValueError(f"{type(net).__name__} has no trainable parameters: a tangent kernel needs at least one")
    dtype = tensors[trainable[0]].dtype
    kernel = 0.0
    for name in trainable:
        left = _jacobian(net, tensors, name, x1.to(dtype) if x1.is_floating_point() else x1)
        right = left if x2 is None else _jacobian(net, tensors, name, x2.to(dtype) if x2.is_floating_point() else x2)
        kernel = kernel + _contract(left, right, kind)
    return kernel


def values_at(net: nn.Module, weights: dict | None) -> dict[str, Tensor]:
    """Name -> value of every parameter and buffer of ``net``, those in ``weights`` replaced, in the type of these."""
    own = dict(net.named_parameters()) | dict(net.named_buffers())
    tensors = {name: tensor.detach() for name, tensor in own.items()}
    if not weights:
        return tensors
    unknown = sorted(set(weights) - set(tensors))
    if unknown:
        raise ValueError(f"weights names {unknown[0]!r}, which {type(net).__name__} does not have")
    dtype = next(iter(weights.values())).dtype
    tensors |= {name: tensor.detach() for name, tensor in weights.items()}
    return {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}


def _jacobian(net, tensors, name, x) -> Tensor:
    """(n, K, size of the parameter)."""
    others = {key: tensor for key, tensor in tensors.items() if key != name}

    def outputs(parameter, example):
        return call(net, others | {name: parameter}, (example.unsqueeze(0),)).flatten()

    jacobian = torch.func.vmap(torch.func.jacrev(outputs), (None, 0))(tensors[name], x)
    return jacobian.flatten(2)


def _contract(left: Tensor, right: Tensor, kind: str) -> Tensor:
    (n1, outputs, size), n2 = left.shape, len(right)
    if kind == "full":
        product = left.reshape(-1, size) @ right.reshape(-1, size).T
        return product.reshape(n1, outputs, n2, outputs).transpose(1, 2)
    if kind == "trace":
        return left.flatten(1) @ right.flatten(1).T
    return torch.einsum("ikp,jkp->ijk", left, right)


def _refuse_mixing(net: nn.Module) -> None:
    for name, module in net.named_modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        if module.running_mean is None:
            raise ValueError(f"module {name!r} mixes the examples of a batch: give it running statistics")
        if module.training:
            raise ValueError(f"module {name!r} mixes the examples of a batch in training mode: call net.eval() first")
