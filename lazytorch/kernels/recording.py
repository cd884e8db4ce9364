"""Running a module while noting each call of a layer that has a rule for its parameters' Jacobian."""

import copy
import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.overrides import TorchFunctionMode

from ..functional import call, installed, kept_tensors, kept_without_graph
from ..products import tf32
from .layers import LAYERS, Layer

_ATTENTION = inspect.signature(F.multi_head_attention_forward)


class Call(NamedTuple):
    """One call of a layer: ``names`` of the arguments that are parameters, ``edge`` where the cotangent comes in.

    ``sources``: the nodes of the graph to which all other arguments pass it on.
    """

    layer: Layer
    arguments: dict
    names: dict[str, str]
    shape: torch.Size
    dtype: torch.dtype
    edge: GradientEdge
    sources: list[Node]
    version: int

    def check(self) -> None:
        """Raise if the layer's input has been overwritten since."""
        if self.arguments["input"]._version != self.version:
            names = " and ".join(self.names.values())
            raise RuntimeError(f"the input of the layer with {names} is modified in place afterwards: copy it first")


class Recorder(TorchFunctionMode):
    """Notes the calls of layers whose parameters are among ``parameters`` (name -> tensor), in order.

    There a parameter is replaced by its leaf in ``leaves``, so that what gradient still reaches the parameter itself
    comes from elsewhere.
    """

    def __init__(self, parameters: dict[str, Tensor], leaves: dict[str, Tensor]):
        super().__init__()
        self.calls: list[Call] = []
        self._names = {id(tensor): name for name, tensor in parameters.items()}
        self._leaves = leaves

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is F.multi_head_attention_forward:
            return self._attention(args, kwargs)
        if function in (F.embedding, F.embedding_bag):
            args, kwargs = _with_weight_copied(function, args, kwargs)
        layer = LAYERS.get(function)
        given = layer.arranged(args, self._names) if layer else args
        if layer is None or len(given) > len(layer.signature):
            return function(*args, **kwargs)
        arguments = dict(zip(layer.signature, given, strict=False)) | kwargs
        names = {
            key: self._names[id(arguments[key])] for key in layer.parameters if id(arguments.get(key)) in self._names
        }
        if not names or not layer.accepts(arguments) or not torch.is_grad_enabled():
            return function(*args, **kwargs)
        others = [v for key, v in arguments.items() if key not in names and isinstance(v, Tensor) and v.requires_grad]
        arguments |= {key: self._leaves[name] for key, name in names.items()}
        output = function(
            *(arguments[key] for key in layer.signature[: len(given)]), **{k: arguments[k] for k in kwargs}
        )
        if not output.requires_grad:  # inside a transformation of torch.func
            return function(*args, **kwargs)
        if output._is_view():  # an operation in place on a view would cut its edge off the graph
            output = output.clone()
        arguments = {key: value.detach() if isinstance(value, Tensor) else value for key, value in arguments.items()}
        self.calls.append(
            Call(
                layer,
                arguments,
                names,
                output.shape,
                output.dtype,
                get_gradient_edge(output),
                [get_gradient_edge(tensor).node for tensor in others],
                arguments["input"]._version,
            )
        )
        return output

    def _attention(self, args, kwargs):
        """Attention with its projections outside it, as calls of linear layers, and identities in their place."""
        given = _ATTENTION.bind(*args, **kwargs).arguments
        sources = [given[name] for name in ("query", "key", "value")]
        weight, bias = given["in_proj_weight"], given["in_proj_bias"]
        with self:
            if given.get("use_separate_proj_weight"):
                weights = [given[f"{name}_proj_weight"] for name in "qkv"]
                biases = (None,) * 3 if bias is None else bias.chunk(3)
                projected = [F.linear(*each) for each in zip(sources, weights, biases, strict=True)]
            elif sources[0] is sources[1] and sources[1] is sources[2]:
                projected = F.linear(sources[0], weight, bias).chunk(3, -1)
            else:
                projected = [F.linear(x, weight, bias).chunk(3, -1)[part] for part, x in enumerate(sources)]
        identity = torch.eye(given["embed_dim_to_check"], dtype=sources[0].dtype, device=sources[0].device)
        inner: dict[str, Any] = dict(zip(("query", "key", "value"), projected, strict=True))
        inner |= {"in_proj_weight": None, "in_proj_bias": None, "out_proj_bias": None, "use_separate_proj_weight": True}
        inner |= dict.fromkeys(("q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj_weight"), identity)
        mixed, attention = F.multi_head_attention_forward(**given | inner)
        with self:
            return F.linear(mixed, given["out_proj_weight"], given["out_proj_bias"]), attention


def _with_weight_copied(function, args, kwargs):
    """The arguments, with a copy of the weight if there is a ``max_norm``, for which it is changed in place."""
    given = inspect.signature(function).bind(*args, **kwargs).arguments
    if given.get("max_norm") is None:
        return args, kwargs
    return (), given | {"weight": given["weight"].clone()}


class Network:
    """A module at given values of its ``parameters``, those that the kernel is over, and of all other tensors.

    Those of less than 32 bits are converted to float32. Parameters without elements are none.
    """

    def __init__(self, net: nn.Module, tensors: dict[str, Tensor]):
        self.net = net
        names = [name for name, parameter in net.named_parameters() if parameter.requires_grad and parameter.numel()]
        for name in names:
            if tensors[name].is_complex():
                raise ValueError(
                    f"parameter {name!r} is complex: keep its real and imaginary parts, torch.view_as_real, as "
                    "the parameter and combine them in forward, or freeze it"
                )
        tensors = {name: t.float() if t.is_floating_point() and t.itemsize < 4 else t for name, t in tensors.items()}
        self._keeps: bool | None = None
        self.parameters = {name: tensors[name].detach().requires_grad_() for name in names}
        self._leaves = {name: tensor.detach().requires_grad_() for name, tensor in self.parameters.items()}
        self.constants = {name: tensor.detach() for name, tensor in tensors.items() if name not in self.parameters}

    @property
    def dtype(self) -> torch.dtype:
        """The type of the parameters, and of the kernel."""
        return next(iter(self.parameters.values())).dtype

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(iter(self.parameters.values())).device

    def zeros(self, *shape: int) -> Tensor:
        """Of the network's type and on its device."""
        return torch.zeros(shape, dtype=self.dtype, device=self.device)

    def installed(self):
        """Within the context the module has these values as its own, and afterwards those that it had.

        Checkpoints and adjoint methods call parts of it again in the backward pass, and find them there.
        """
        return installed(self.net, self.parameters | self.constants)

    def __call__(self, inputs: tuple[Tensor, ...], recorded=(), values=None) -> tuple[Tensor, list[Call]]:
        """The outputs (n, K) and the calls of layers with the parameters named in ``recorded``.

        ``values``, dict name -> tensor, are used in place of the parameters' own.
        """
        recorder = Recorder({name: self.parameters[name] for name in recorded}, self._leaves)
        # A pass may update buffers, and work in place on its inputs.
        buffers = {name: tensor.clone() for name, tensor in self.constants.items()}
        n = len(inputs[0])
        with recorder:
            outputs = self._call(self.parameters | buffers | (values or {}), tuple(x.clone() for x in inputs))
        if not isinstance(outputs, Tensor) or outputs.dim() == 0 or len(outputs) != n:
            found = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
            raise ValueError(f"the output of {type(self.net).__name__} must be a tensor of shape (n, ...), not {found}")
        return outputs.reshape(n, -1), recorder.calls

    def _call(self, tensors: dict[str, Tensor], inputs: tuple[Tensor, ...]):
        """On a copy if the module keeps tensors from call to call, which the first call finds out."""
        if self._keeps is False:
            return call(self.net, tensors, inputs)
        own = (*self.net.parameters(), *self.net.buffers())
        net = copy.deepcopy(self.net, {id(t): t for t in own} | kept_without_graph(self.net))
        before = list(map(id, kept_tensors(net)))
        outputs = call(net, tensors, inputs)
        self._keeps = list(map(id, kept_tensors(net))) != before
        return outputs

    def reached(self, outputs: Tensor, calls: list[Call]) -> set[str]:
        """The names of the parameters on which ``outputs`` depend otherwise than through the cotangents of ``calls``.

        Such as through gradients that the module itself takes.
        """
        both = (*self.parameters.items(), *self._leaves.items())
        names = {id(tensor): name for name, tensor in both}
        sources = {call.edge.node: call.sources for call in calls}
        nodes, seen, found = [outputs.grad_fn], set(), set()
        while nodes:
            node = nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            nodes += sources[node] if node in sources else [following for following, _ in node.next_functions]
            if (variable := getattr(node, "variable", None)) is not None and id(variable) in names:
                found.add(names[id(variable)])
        return found


@contextmanager
def exact_derivatives(device: torch.device) -> Iterator[None]:
    """No reduced precision of products (TF32, bfloat16), no autocast, no no_grad; as it was afterwards.

    So are the states of the generators of the CPU and of ``device``, which a random network draws from.

    Raises RuntimeError under inference_mode, which nothing inside can leave for tensors made under it.
    """
    if torch.is_inference_mode_enabled():
        raise RuntimeError("torch.inference_mode() has no derivatives: leave it, or use torch.no_grad() instead")
    kind, drawn_from = device.type, [device] if device.type == "cuda" else []
    cast = torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
    with tf32(False), cast, torch.enable_grad(), torch.random.fork_rng(drawn_from):
        yield
