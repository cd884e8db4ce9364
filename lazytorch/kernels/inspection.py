"""What passes over two and three examples tell of a module: its parameters' uses, and that examples do not mix."""

import ctypes
import math
from collections import Counter
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointError
from torch.utils.flop_counter import flop_registry

from ..functional import forward_differentiable
from .layers import Layer, Layout
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
    """Outputs K, the calls' :func:`signature`; bytes that a pass keeps, and FLOPs, for one example."""

    outputs: int
    calls: tuple
    parameters: tuple[Parameter, ...]
    saved: int
    forward_flops: int
    backward_flops: int


def inspect_network(network: Network, inputs: tuple[Tensor, ...]) -> Findings:
    """Find the uses of every parameter, from one pass over two and one over three of the examples.

    Raises:
        ValueError: a module in training mode that mixes examples or draws random numbers, or examples that interact
            otherwise, or results that differ from one pass to the next; or checkpoints around attention.
    """
    _refuse_training_modes(network.net)
    index = torch.arange(3, device=inputs[0].device) % len(inputs[0])
    three = tuple(x[index].requires_grad_(x.is_floating_point()) for x in inputs)
    states = _random_states(network.device)
    fewer = _pass_over_two(network, tuple(x[:2].detach() for x in three))  # over before the next, which needs memory
    saved: Counter = Counter()
    with _Flops() as forward, forward_differentiable(), _counting(saved):  # plain attention
        outputs, calls = network(three, network.parameters)
    _refuse_randomness(network, states, outputs, fewer.outputs)
    alike = _called_alike(calls, fewer.calls)
    calls, fewer_calls = _restricted(calls, alike), _restricted(fewer.calls, alike)
    first = _gradients(network, outputs[0], calls, three)
    _refuse_mixing(network, first.inputs)
    with _Flops() as backward:
        second = _gradients(network, outputs[1], calls)
    fewer_cotangents = [call.cotangent for call in fewer_calls]
    evidence = [(first.cotangents, 0, 3), (second.cotangents, 1, 3), (fewer_cotangents, 1, 2)]
    layouts = _layouts(calls, fewer_calls, evidence)
    reached = network.reached(outputs, calls)
    unsure = {name for call, layout in zip(calls, layouts, strict=True) if not layout for name in call.names.values()}
    structured = alike - reached - unsure
    layouts = [each for call, each in zip(calls, layouts, strict=True) if structured & set(call.names.values())]
    calls = _restricted(calls, structured)
    parameters = [
        _parameter(network, name, calls, layouts)
        for name in network.parameters
        if name in structured | reached | unsure  # the outputs do not depend on others
    ]
    return Findings(
        outputs.shape[1],
        signature(calls),
        tuple(parameters),
        sum(saved.values()) - fewer.saved,
        forward.total // 3,
        backward.total // 3,
    )


class _Seen(NamedTuple):
    """What is kept of a call in the pass over two examples."""

    layer: Layer
    names: dict[str, str]
    shape: torch.Size
    cotangent: Tensor | None


class _Fewer(NamedTuple):
    """What is kept of a pass over two examples; ``saved``: bytes that it held for the backward pass."""

    outputs: Tensor
    calls: list[_Seen]
    saved: int


def _pass_over_two(network: Network, inputs: tuple[Tensor, ...]) -> _Fewer:
    saved: Counter = Counter()
    with forward_differentiable(), _counting(saved):
        outputs, calls = network(inputs, network.parameters)
    cotangents: list[Tensor | None] = [None] * len(calls)
    if any(2 not in call.shape for call in calls):  # where examples share an axis, three alone may not tell how
        cotangents = _gradients(network, outputs[1], calls).cotangents
    seen = [_Seen(call.layer, call.names, call.shape, c) for call, c in zip(calls, cotangents, strict=True)]
    return _Fewer(outputs.detach(), seen, sum(saved.values()))


def _called_alike(calls: list[Call], fewer: list[_Seen]) -> set[str]:
    """The parameters that the same layers are called with, whatever the number of examples; not those in loops."""
    by_name: tuple[dict, dict] = ({}, {})
    for each, found in zip((calls, fewer), by_name, strict=True):
        for call in each:
            for key, name in call.names.items():
                found.setdefault(name, []).append((call.layer, key))
    alike = {name for name, layers in by_name[0].items() if by_name[1].get(name) == layers}
    return alike if signature(_restricted(calls, alike)) == signature(_restricted(fewer, alike)) else set()


def _restricted(calls: list, names: set[str]) -> list:
    """The calls with these parameters, as if others were none."""
    kept = [call._replace(names={key: name for key, name in call.names.items() if name in names}) for call in calls]
    return [call for call in kept if call.names]


def signature(calls: list) -> tuple:
    """Which layers were called with which parameters, in order."""
    return tuple((call.layer, tuple(call.names.items())) for call in calls)


def _refuse_training_modes(net: nn.Module) -> None:
    """Raise ValueError if a module of ``net`` mixes examples or is random because it is in training mode."""
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.running_mean is None:
                raise ValueError(f"module {name!r} mixes the examples of a batch: give it running statistics")
            if module.training:
                raise ValueError(
                    f"module {name!r} mixes the examples of a batch in training mode: call net.eval() first"
                )
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.training and module.p > 0:
            raise ValueError(f"module {name!r} is random in training mode: call net.eval() first")


class _Flops(TorchDispatchMode):
    """Counts by torch's formulas, in a fraction of the time that FlopCounterMode takes to do it module by module."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if formula := flop_registry.get(function.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=output)
        return output


def _counting(sizes: Counter):
    """Saved tensors' bytes by storage."""

    def pack(tensor):
        storage = tensor.untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
        return tensor.detach()  # itself, if it is an output, would keep its own graph alive for ever

    return torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)


class _Gradients(NamedTuple):
    """Of a combination of an example's outputs: cotangents of calls and inputs."""

    cotangents: list[Tensor | None]
    inputs: list[Tensor | None]


def _gradients(network: Network, values: Tensor, calls: list[Call], inputs=()) -> _Gradients:
    try:
        return _differentiated(network, values, calls, inputs)
    except CheckpointError as error:
        raise ValueError(
            f"{type(network.net).__name__} uses torch.utils.checkpoint around what recomputes otherwise than recorded, "
            "such as attention: switch checkpointing off for the kernel, whose memory max_memory bounds"
        ) from error


def _differentiated(network: Network, values: Tensor, calls: list[Call], inputs) -> _Gradients:
    inputs = [x for x in inputs if x.requires_grad]
    targets = [*(call.edge for call in calls), *inputs]
    if not values.requires_grad or not targets:
        return _Gradients([None] * len(calls), [None] * len(inputs))
    weights = torch.linspace(1, 2, len(values), dtype=values.dtype, device=values.device)
    gradients = torch.autograd.grad(values @ weights, targets, retain_graph=True, allow_unused=True)
    return _Gradients(list(gradients[: len(calls)]), list(gradients[len(calls) :]))


def _layouts(calls: list[Call], fewer: list[_Seen], evidence) -> list[Layout | None]:
    """Where the examples lie in each call's output; None where that is not certain.

    ``evidence``: (cotangents of all calls, the example they belong to, the number of examples).
    """
    return [
        _layout(call, other.shape, [(cotangents[i], example, n) for cotangents, example, n in evidence])
        for i, (call, other) in enumerate(zip(calls, fewer, strict=True))
    ]


def _layout(call: Call, fewer_shape: torch.Size, evidence) -> Layout | None:
    """The only layout in which an example's cotangent is 0 at all others."""
    shape = call.shape
    if len(shape) != len(fewer_shape):
        return None
    axes = [axis for axis, size in enumerate(shape) if size != fewer_shape[axis]]
    if len(axes) != 1 or 2 * shape[axes[0]] != 3 * fewer_shape[axes[0]]:
        return None
    if not call.layer.allows(call.arguments, axes[0], len(shape)):
        return None
    options = [Layout(axes[0], major) for major in ((True,) if shape[axes[0]] == 3 else (True, False))]
    found = [option for option in options if all(_separate(option, *each) for each in evidence)]
    return found[0] if len(found) == 1 else None


def _separate(layout: Layout, cotangent: Tensor | None, example: int, n: int) -> bool:
    """Whether the cotangent of an example is 0 at the others."""
    if cotangent is None:
        return True
    parts = layout.split(cotangent, n)
    return _vanishes(torch.cat((parts[:example], parts[example + 1 :])))


def _vanishes(gradient: Tensor) -> bool:
    """Whether it is 0; what is not a number counts as 0, as 0 times infinity is when a network has diverged."""
    return bool(((gradient == 0) | gradient.isnan()).all())


def _parameter(network: Network, name: str, calls: list[Call], layouts) -> Parameter:
    places = [(i, key) for i, call in enumerate(calls) for key, value in call.names.items() if value == name]
    size = network.parameters[name].numel()
    return Parameter(name, size, tuple(_use(calls[i], i, key, layouts[i], size) for i, key in places))


def _use(call: Call, index: int, argument: str, layout: Layout, size: int) -> Use:
    if argument not in call.layer.matrices:
        return Use(index, argument, layout, groups=size, positions=math.prod(call.shape) // (3 * size))
    arguments = {key: v.to("meta") if isinstance(v, Tensor) else v for key, v in call.arguments.items()}  # for sizes
    like = torch.empty(call.shape, dtype=arguments["weight"].dtype, device="meta")
    cotangent = call.layer.cotangent(arguments, layout, 3, like)
    operand = call.layer.operand(arguments, layout, 3)
    kind = "tokens" if call.layer.tokens else "transposed" if call.layer.transposed else "matrix"
    _, groups, positions, outputs = cotangent.shape
    inputs = 1 if call.layer.tokens else operand.shape[3]
    return Use(index, argument, layout, groups, positions, inputs, outputs, kind)


def _refuse_mixing(network: Network, gradients: list[Tensor | None]) -> None:
    """Exactly, where inputs are differentiable: the first example's outputs have gradient 0 at the others' inputs."""
    for gradient in gradients:
        if gradient is not None and not _vanishes(gradient[1:]):
            _mixes(network)


def _refuse_randomness(network: Network, states: list[bytes], outputs: Tensor, fewer: Tensor) -> None:
    """Raise if the passes drew random numbers or if outputs depend on the pass or on the number of examples."""
    if states != _random_states(network.device):
        kind = type(network.net).__name__
        raise ValueError(f"{kind} draws random numbers: a tangent kernel needs a deterministic network, try net.eval()")
    outputs, fewer = outputs[:2].nan_to_num(), fewer.nan_to_num()
    tolerance = 100 * torch.finfo(outputs.dtype).eps ** 0.75
    if not bool(((outputs - fewer).abs() <= tolerance * (1 + fewer.abs().amax())).all()):
        _mixes(network)


def _mixes(network: Network):
    kind = type(network.net).__name__
    raise ValueError(
        f"{kind} mixes the examples of a batch, or changes from pass to pass: a tangent kernel needs outputs that "
        f"depend on their own example alone; look for statistics over the batch dimension, and try net.eval()"
    )


def _random_states(device: torch.device) -> list[bytes]:
    states = [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
    return [ctypes.string_at(state.data_ptr(), state.numel()) for state in states]
