"""What two passes over three examples tell of a module: which parameters have structure, and that examples do not mix."""

from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .layers import Layout
from .recording import Call, Network


class Use(NamedTuple):
    """One use of a parameter: argument ``argument`` of call number ``call``, of the sizes that a position has."""

    call: int
    argument: str
    layout: Layout
    groups: int = 1
    positions: int = 1
    inputs: int = 1
    outputs: int = 1
    kind: str = "vector"  # vector, matrix, transposed, or tokens


class Parameter(NamedTuple):
    """A parameter with all its uses; none where its Jacobian is to be had by differentiation only."""

    name: str
    size: int
    uses: tuple[Use, ...]


class Findings(NamedTuple):
    """``outputs``: K; ``saved``: bytes that a pass keeps for each example; FLOPs are those of one example."""

    outputs: int
    calls: int
    parameters: tuple[Parameter, ...]
    saved: int
    forward_flops: int
    backward_flops: int


def inspect_network(network: Network, inputs: tuple[Tensor, ...]) -> Findings:
    """Find the uses of every parameter, from one pass over two and one over three of the examples.

    Raises:
        ValueError: a module in training mode that mixes examples or draws random numbers, or examples that interact
            otherwise, or results that differ from one pass to the next.
    """
    refuse_training_modes(network.net)
    index = torch.arange(3, device=inputs[0].device) % len(inputs[0])
    three = tuple(x[index] for x in inputs)
    two = tuple(x[:2] for x in three)
    names = list(network.parameters)
    saved = [Counter(), Counter()]
    with FlopCounterMode(display=False) as flops, _counting(saved[0]):
        outputs, calls = network(three, names)
    forward = flops.get_total_flops() // 3
    with _counting(saved[1]):
        fewer_outputs, fewer_calls = network(two, names)
    _refuse_randomness(network, three, outputs, fewer_outputs)
    with FlopCounterMode(display=False) as flops:
        cotangents, outside = _cotangents(network, outputs, calls)
    fewer, _ = _cotangents(network, fewer_outputs, fewer_calls)
    layouts = _layouts(calls, cotangents, fewer_calls, fewer)
    parameters = tuple(_parameter(network, name, calls, layouts, outside) for name in names)
    _refuse_mixing(network, three)
    per_example = sum(saved[0].values()) - sum(saved[1].values())
    used = tuple(p for p in parameters if p.uses or p.name in outside)
    return Findings(outputs.shape[1], len(calls), used, per_example, forward, flops.get_total_flops() // 9)


def refuse_training_modes(net: nn.Module) -> None:
    """Raise ValueError if a module of ``net`` mixes examples or is random because it is in training mode."""
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.running_mean is None:
                raise ValueError(f"module {name!r} mixes the examples of a batch: give it running statistics")
            if module.training:
                raise ValueError(f"module {name!r} mixes the examples of a batch in training mode: call net.eval() first")
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise ValueError(f"module {name!r} is random in training mode: call net.eval() first")


def _counting(sizes: Counter):
    """Saved tensors' bytes by storage."""

    def pack(tensor):
        storage = tensor.untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
        return tensor

    return torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)


def _cotangents(network: Network, outputs: Tensor, calls: list[Call]) -> tuple[list[list[Tensor | None]], set[str]]:
    """Of a combination of each example's outputs, the cotangents of all calls; the parameters reached otherwise."""
    weights = torch.linspace(1, 2, outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
    if not outputs.requires_grad:
        return [[None] * len(calls) for _ in outputs], set()
    targets = [*(call.edge for call in calls), *network.parameters.values()]
    cotangents, outside = [], set()
    for example in outputs:
        gradients = torch.autograd.grad(example @ weights, targets, retain_graph=True, allow_unused=True)
        cotangents.append(gradients[: len(calls)])
        rest = zip(network.parameters, gradients[len(calls) :], strict=True)
        outside |= {name for name, gradient in rest if gradient is not None}
    return cotangents, outside


def _layouts(calls, cotangents, fewer_calls, fewer_cotangents) -> list[Layout | None]:
    """Where the examples lie in each call's output; None where that is not certain."""
    if [(c.layer, c.names) for c in calls] != [(c.layer, c.names) for c in fewer_calls]:
        return [None] * len(calls)
    return [
        _layout(call, [each[i] for each in cotangents], other.shape, [each[i] for each in fewer_cotangents])
        for i, (call, other) in enumerate(zip(calls, fewer_calls, strict=True))
    ]


def _layout(call: Call, cotangents, fewer_shape, fewer_cotangents) -> Layout | None:
    """The only layout in which each example's cotangent is 0 at all other examples."""
    shape = call.shape
    if len(shape) != len(fewer_shape):
        return None
    axes = [axis for axis, size in enumerate(shape) if size != fewer_shape[axis]]
    if len(axes) != 1 or 2 * shape[axes[0]] != 3 * fewer_shape[axes[0]]:
        return None
    if not call.layer.allows(call.arguments, axes[0], len(shape)):
        return None
    many = shape[axes[0]] > 3
    options = [Layout(axes[0], major) for major in ((True, False) if many else (True,))]
    found = [o for o in options if _separate(o, cotangents) and _separate(o, fewer_cotangents)]
    return found[0] if len(found) == 1 else None


def _separate(layout: Layout, cotangents: list[Tensor | None]) -> bool:
    """Whether the cotangent of each example is 0 at the others."""
    for i, cotangent in enumerate(cotangents):
        if cotangent is not None:
            parts = layout.split(cotangent, len(cotangents))
            if not bool((torch.cat((parts[:i], parts[i + 1 :])) == 0).all()):
                return False
    return True


def _parameter(network: Network, name: str, calls: list[Call], layouts, outside: set[str]) -> Parameter:
    size = network.parameters[name].numel()
    places = [(i, key) for i, call in enumerate(calls) for key, value in call.names.items() if value == name]
    if name in outside or any(layouts[i] is None for i, _ in places):
        outside.add(name)
        return Parameter(name, size, ())
    return Parameter(name, size, tuple(_use(calls[i], i, key, layouts[i]) for i, key in places))


def _use(call: Call, index: int, argument: str, layout: Layout) -> Use:
    if argument not in call.layer.matrices:
        return Use(index, argument, layout)
    like = torch.empty(call.shape, dtype=call.arguments["weight"].dtype, device=call.arguments["weight"].device)
    cotangent = call.layer.cotangent(call.arguments, layout, 3, like)
    operand = call.layer.operand(call.arguments, layout, 3)
    kind = "tokens" if call.layer.tokens else "transposed" if call.layer.transposed else "matrix"
    inputs = 1 if call.layer.tokens else operand.shape[3]
    return Use(index, argument, layout, *cotangent.shape[1:3], inputs, cotangent.shape[3], kind)


def _refuse_mixing(network: Network, inputs: tuple[Tensor, ...]) -> None:
    """Exactly, where inputs are differentiable: the gradient of one example's outputs is 0 at another's inputs."""
    leaves = tuple(x.detach().requires_grad_(x.is_floating_point()) for x in inputs)
    outputs, _ = network(leaves)
    floating = [x for x in leaves if x.requires_grad]
    if not floating or not outputs.requires_grad:
        return
    weights = torch.linspace(1, 2, outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
    gradients = torch.autograd.grad(outputs[0] @ weights, floating, allow_unused=True)
    for gradient in gradients:
        if gradient is not None and not bool((gradient[1:] == 0).all()):
            _mixes(network)


def _refuse_randomness(network: Network, inputs, outputs: Tensor, fewer: Tensor) -> None:
    """Raise if a pass draws random numbers or if the outputs of an example depend on the pass or on other examples."""
    states = _random_states(network.device)
    with torch.no_grad():
        alone = network(tuple(x[:1] for x in inputs))[0]
    kind = type(network.net).__name__
    if not all(torch.equal(*pair) for pair in zip(states, _random_states(network.device), strict=True)):
        raise ValueError(f"{kind} draws random numbers: a tangent kernel needs a deterministic network, try net.eval()")
    tolerance = 100 * torch.finfo(outputs.dtype).eps ** 0.75
    for other in (outputs[:1], fewer[:1]):
        if not bool(((other - alone).abs() <= tolerance * (1 + alone.abs().amax())).all()):
            _mixes(network)


def _mixes(network: Network):
    kind = type(network.net).__name__
    raise ValueError(
        f"{kind} mixes the examples of a batch, or changes from pass to pass: a tangent kernel needs outputs that depend "
        f"on their own example alone; look for statistics over the batch dimension, and for net.eval()"
    )


def _random_states(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states
