"""The features of a block of examples: passes through the network, forward once and backward for every output."""

import math
import warnings
from typing import Any

import torch
from torch import Tensor

from ..functional import forward_differentiable
from .contractions import Contraction
from .inspection import signature
from .plan import Plan
from .recording import Call, Network

_CHANGES = (
    "the network calls other layers for some examples than for others, or orders them by their values: compute the "
    "kernel of each group of examples that it treats alike"
)


def features(network: Network, plan: Plan, inputs: tuple[Tensor, ...], outputs: range) -> list[list[Tensor]]:
    """What the contractions of ``plan`` need of the examples ``inputs`` for these outputs, for each parameter."""
    n = len(inputs[0])
    forms = plan.forms_for(outputs)
    like = network.zeros()
    result = [form.allocate(n, like) for form in forms]
    parameters = plan.findings.parameters
    for start in range(0, n, plan.chunk):
        rows = slice(start, start + plan.chunk)
        here, examples = [[tensor[rows] for tensor in tensors] for tensors in result], tuple(x[rows] for x in inputs)
        if any(parameter.uses for parameter in parameters):
            _fill_structured(network, plan, forms, here, examples, outputs)
        elif len(parameters) < len(network.parameters):
            _check_unused(network, plan, *network(examples))
        others = {p.name: tensors[0] for p, tensors in zip(parameters, here, strict=True) if not p.uses}
        if others:
            _fill_others(network, others, examples, outputs)
    return result


def _fill_structured(network: Network, plan: Plan, forms: list[Contraction], features, inputs, outputs: range) -> None:
    """From the cotangents of all calls, one output after another."""
    n = len(inputs[0])
    values, calls = network(inputs, [p.name for p in plan.findings.parameters if p.uses])
    if signature(calls) != plan.findings.calls:
        raise RuntimeError(_CHANGES)
    _check_unused(network, plan, values, calls)
    layers = [
        (form, tensors, number, use, calls[use.call])
        for form, tensors in zip(forms, features, strict=True)
        for number, use in enumerate(form.uses)
    ]
    if any(call.shape[use.layout.axis] % n for *_, use, call in layers):
        raise RuntimeError(_CHANGES)
    operands = [_operand(call, use, n) for _, _, number, use, call in layers]
    for index, output in enumerate(outputs):
        cotangents = _cotangents(values[:, output], calls)
        if index == 0 and n > 1:
            _check_layouts(values[:, output], cotangents, layers)
        for (form, tensors, number, use, call), operand in zip(layers, operands, strict=True):
            form.fill(tensors, index, number, operand, _gradient(call, use, n, operand, cotangents[use.call]))
        del cotangents  # before there are the next


def _check_unused(network: Network, plan: Plan, values: Tensor, calls: list[Call]) -> None:
    """Raise if the outputs depend on parameters that they did not depend on in the examples of the inspection."""
    if network.reached(values, calls) - {p.name for p in plan.findings.parameters if not p.uses}:
        raise RuntimeError(_CHANGES)


def _check_layouts(values: Tensor, cotangents: list[Tensor | None], layers) -> None:
    """Raise unless example i's cotangents scale with its output; by powers of 2, which is exact but for underflow.

    A network may order the examples by their values, otherwise than those that the layouts were found from.
    """
    scales = torch.exp2(torch.arange(len(values), device=values.device, dtype=values.dtype) % 32 - 16)
    checked = {use.call for *_, use, call in layers if cotangents[use.call] is not None and math.prod(call.shape)}
    layouts = {use.call: (use.layout, call) for *_, use, call in layers if use.call in checked}
    if not layouts:
        return
    found = _cotangents(values * scales, [call for _, call in layouts.values()])
    for (index, (layout, _)), scaled in zip(layouts.items(), found, strict=True):
        expected, scaled = (layout.split(c, len(values)).flatten(1) for c in (cotangents[index], scaled))
        expected = (expected * scales.unsqueeze(1)).to(scaled)
        difference = scaled.sub(expected).abs_()
        bound = expected.abs_().mul_(0.25)
        bound.add_(torch.finfo(bound.dtype).eps ** 0.75 * bound.amax(1, keepdim=True))
        if not ((difference <= bound) | difference.isnan()).all():  # not a number where the network has diverged
            raise RuntimeError(_CHANGES)


def _operand(call: Call, use, n: int) -> Any:
    with torch.no_grad():
        if use.kind != "vector":
            operand = call.layer.operand(call.arguments, use.layout, n)
        elif (operand := call.layer.factor(call.arguments, use.argument)) is None:
            return None
    call.check()
    return operand


def _gradient(call: Call, use, n: int, operand, cotangent: Tensor | None) -> Tensor:
    if cotangent is None:  # the output does not depend on this call
        cotangent = torch.zeros(call.shape, dtype=call.dtype, device=call.arguments["input"].device)
    if use.kind == "vector":
        return call.layer.vector(call.arguments, use.layout, n, operand, cotangent)
    return call.layer.cotangent(call.arguments, use.layout, n, cotangent)


def _cotangents(values: Tensor, calls: list[Call]) -> list[Tensor | None]:
    """Of the sum of an output over the examples, at every call."""
    if not values.requires_grad:
        return [None] * len(calls)
    edges = [call.edge for call in calls]
    return list(torch.autograd.grad(values.sum(), edges, retain_graph=True, allow_unused=True))


def _fill_others(network: Network, jacobians: dict[str, Tensor], inputs: tuple[Tensor, ...], outputs: range) -> None:
    """For parameters in ``jacobians`` (n, outputs, size); modules that vmap cannot take get one example at a time."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of operations that vmap takes one by one
            _fill_batched(network, jacobians, inputs, outputs)
        done = _sums_agree(network, jacobians, inputs, outputs)
    except Exception:  # of any kind: the module's own code runs into what vmap has no rule for, such as RNNs
        done = False
    if not done:
        for i in range(len(inputs[0])):
            _fill_alone(network, {n: j[i] for n, j in jacobians.items()}, tuple(x[i : i + 1] for x in inputs), outputs)


def _fill_batched(network: Network, jacobians: dict[str, Tensor], inputs: tuple[Tensor, ...], outputs: range) -> None:
    """Every example has parameters of its own."""
    n = len(inputs[0])
    others = {name: tensor.detach() for name, tensor in network.parameters.items() if name not in jacobians}
    own = {name: network.parameters[name].detach() for name in jacobians}
    own = {name: tensor.expand(n, *tensor.shape).requires_grad_() for name, tensor in own.items()}

    def single(own, *example):
        return network(tuple(x.unsqueeze(0) for x in example), values=others | own)[0][0]

    with forward_differentiable():
        values = torch.func.vmap(single)(own, *inputs)
    for index, output in enumerate(outputs):
        gradients = _gradients_of(values[:, output].sum(), own)
        for jacobian, gradient in zip(jacobians.values(), gradients, strict=True):
            jacobian[:, index] = 0 if gradient is None else gradient.flatten(1)


def _sums_agree(network: Network, jacobians: dict[str, Tensor], inputs: tuple[Tensor, ...], outputs: range) -> bool:
    """Whether the Jacobians add up to the gradient of the sum of all outputs; vmap's rules have had errors."""
    values, _ = network(inputs)
    total = values[:, outputs.start : outputs.stop].sum()
    gradients = _gradients_of(total, {name: network.parameters[name] for name in jacobians})
    for jacobian, gradient in zip(jacobians.values(), gradients, strict=True):
        difference = jacobian.sum((0, 1)) - (0 if gradient is None else gradient.to_dense().flatten())
        scale = torch.linalg.vector_norm(jacobian, 1, (0, 1)).amax()
        if not (difference.abs() <= torch.finfo(values.dtype).eps ** 0.5 * scale).all():
            return False
    return True


def _fill_alone(network: Network, jacobians: dict[str, Tensor], example: tuple[Tensor, ...], outputs: range) -> None:
    values, _ = network(example)
    for index, output in enumerate(outputs):
        gradients = _gradients_of(values[0, output], {name: network.parameters[name] for name in jacobians})
        for jacobian, gradient in zip(jacobians.values(), gradients, strict=True):
            jacobian[index] = 0 if gradient is None else gradient.to_dense().flatten()


def _gradients_of(value: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(value, list(parameters.values()), retain_graph=True, allow_unused=True)
