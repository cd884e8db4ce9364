"""How the Jacobian of a layer's parameters is made of what goes into the layer and the cotangent of what comes out.

For example i and output k, a weight matrix has the Jacobian J_ik = sum_s G_ik[s] (x) A_i[s]: the sum over positions s
of the outer product of the cotangent G and the operand A (the layer's input; of a convolution its patches; of an
embedding its tokens, which stand for one-hot vectors). The Jacobians of scales, biases and whatever else is multiplied
or added elementwise are formed at once.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Layout(NamedTuple):
    """Where the examples lie in a layer's output: on ``axis``, of size n m, as (n, m) if ``major``, else as (m, n)."""

    axis: int
    major: bool

    def split(self, tensor: Tensor, n: int) -> Tensor:
        """The examples moved to a new first dimension; the other dimensions stay in order, ``axis`` with size m."""
        m = tensor.shape[self.axis] // n
        parts = tensor.unflatten(self.axis, (n, m) if self.major else (m, n))
        return parts.movedim(self.axis if self.major else self.axis + 1, 0)


class Layer:
    """One kind of layer. ``signature``: its function's arguments in order; ``parameters``: which may be parameters."""

    signature: tuple[str, ...]
    parameters: tuple[str, ...] = ("weight", "bias")
    matrices: tuple[str, ...] = ("weight",)  # the parameters whose Jacobian is a sum of outer products
    tokens = False  # whether operands are token numbers, which stand for one-hot vectors
    transposed = False  # whether the matrix has the operand's dimension first and the cotangent's second

    def arranged(self, args: tuple, parameters: dict[int, str]) -> tuple:
        """The arguments given by position, in the order of the signature; ``parameters``: id -> name."""
        return args

    def accepts(self, arguments: dict) -> bool:
        """Whether a call with these arguments has the Jacobian that is described here."""
        return True

    def channels(self, arguments: dict, dims: int) -> tuple[int, ...]:
        """The dimensions of the output that scale and bias span."""
        return (1,)

    def allows(self, arguments: dict, axis: int, dims: int) -> bool:
        """Whether examples that lie on this axis of the output are kept apart."""
        return axis == 0

    def operand(self, arguments: dict, layout: Layout, n: int) -> Tensor:
        """A: (n, groups, positions, inputs), tokens (n, 1, positions)."""
        raise NotImplementedError

    def cotangent(self, arguments: dict, layout: Layout, n: int, gradient: Tensor) -> Tensor:
        """G: (n, groups, positions, outputs)."""
        raise NotImplementedError

    def factor(self, arguments: dict, name: str) -> Tensor | None:
        """What the output's cotangent is multiplied with, elementwise, to be that of a scale; None for a bias."""
        return None

    def vector(self, arguments: dict, layout: Layout, n: int, factor: Tensor | None, gradient: Tensor) -> Tensor:
        """The Jacobian of a scale or bias, (n, size)."""
        channels = self.channels(arguments, gradient.dim())
        product = layout.split(gradient if factor is None else gradient * factor, n)
        others = [d + 1 for d in range(gradient.dim()) if d not in channels]
        return product.sum(others).reshape(n, -1)


class Linear(Layer):
    """x W^T + b for x of shape (..., inputs)."""

    signature = ("input", "weight", "bias")

    def accepts(self, arguments):
        return arguments["weight"].dim() == 2 and arguments["input"].dim() > 1

    def channels(self, arguments, dims):
        return (dims - 1,)

    def allows(self, arguments, axis, dims):
        return axis != dims - 1

    def operand(self, arguments, layout, n):
        return layout.split(arguments["input"], n).flatten(1, -2).unsqueeze(1)

    def cotangent(self, arguments, layout, n, gradient):
        return layout.split(gradient, n).flatten(1, -2).unsqueeze(1)


class MatrixProduct(Linear):
    """x W for x of shape (..., inputs)."""

    signature = ("input", "weight")
    parameters = ("weight",)
    transposed = True

    def accepts(self, arguments):
        return set(arguments) == {"input", "weight"} and super().accepts(arguments)


class Embedding(Linear):
    """Rows of W by token; ``padding_idx`` has no gradient."""

    signature = ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")
    parameters = ("weight",)
    tokens = transposed = True

    def accepts(self, arguments):
        return arguments.get("max_norm") is None and not arguments.get("scale_grad_by_freq")

    def operand(self, arguments, layout, n):
        tokens, padding = layout.split(arguments["input"], n).flatten(1).unsqueeze(1), arguments.get("padding_idx")
        return tokens if padding is None else tokens.masked_fill(tokens == padding % len(arguments["weight"]), -1)


class Convolution(Layer):
    """Convolutions in any number of dimensions: the operand is the patches of the input."""

    signature = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")

    def accepts(self, arguments):
        return arguments["input"].dim() == arguments["weight"].dim()

    def operand(self, arguments, layout, n):
        x, weight = arguments["input"], arguments["weight"]
        return _positions(patches(x, weight.shape[2:], **self._geometry(arguments)), layout, n)

    def cotangent(self, arguments, layout, n, gradient):
        return _positions(_grouped(gradient, arguments.get("groups", 1)), layout, n)

    def _geometry(self, arguments) -> dict:
        return {
            "stride": arguments.get("stride", 1),
            "padding": arguments.get("padding", 0),
            "dilation": arguments.get("dilation", 1),
            "groups": arguments.get("groups", 1),
        }


class TransposedConvolution(Convolution):
    """The other way round: the cotangent is the patches of the output's cotangent, one at each input position."""

    signature = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
    transposed = True

    def operand(self, arguments, layout, n):
        return _positions(_grouped(arguments["input"], arguments.get("groups", 1)), layout, n)

    def cotangent(self, arguments, layout, n, gradient):
        kernel, positions = arguments["weight"].shape[2:], arguments["input"].shape[2:]
        return _positions(patches(gradient, kernel, positions=positions, **self._geometry(arguments)), layout, n)


class Normalisation(Layer):
    """x_hat weight + bias, where x_hat is what ``function`` gives without scale and bias."""

    matrices = ()

    def __init__(self, function, *signature: str):
        self.function, self.signature = function, signature

    def channels(self, arguments, dims):
        if "normalized_shape" in arguments:
            return tuple(range(dims - len(arguments["normalized_shape"]), dims))
        return super().channels(arguments, dims)

    def allows(self, arguments, axis, dims):
        return axis not in self.channels(arguments, dims) if "normalized_shape" in arguments else axis == 0

    def factor(self, arguments, name):
        if name == "bias":
            return None
        plain = {key: value for key, value in arguments.items() if key not in self.parameters}
        return self.function(**plain)


class Addition(Layer):
    """x + weight, the weight broadcast over the examples."""

    signature = ("input", "weight")
    parameters = ("weight",)
    matrices = ()

    def arranged(self, args, parameters):
        return args[::-1] if len(args) == 2 and id(args[0]) in parameters else args

    def accepts(self, arguments):
        x, weight = (arguments.get(name) for name in self.signature)
        return isinstance(x, Tensor) and isinstance(weight, Tensor) and len(arguments) == 2 and x.dtype == weight.dtype

    def channels(self, arguments, dims):
        shape = arguments[self.parameters[0]].shape
        return tuple(d for d, size in enumerate(shape, dims - len(shape)) if size > 1)

    def allows(self, arguments, axis, dims):
        return axis not in self.channels(arguments, dims)


class Multiplication(Addition):
    """x weight, elementwise, the weight broadcast over the examples."""

    def factor(self, arguments, name):
        return arguments["input"]


class Expansion(Addition):
    """The weight itself, repeated for every example, such as a class token."""

    signature = ("input", "size")
    parameters = ("input",)

    def arranged(self, args, parameters):
        return (args[0], torch.Size(args[1:])) if len(args) > 1 and isinstance(args[1], int) else args

    def accepts(self, arguments):
        return True


def patches(x: Tensor, kernel, stride, padding, dilation, groups, positions=None) -> Tensor:
    """The patches of x (N, C, *sizes) that a convolution sees: (N, groups, positions, C / groups * kernel size)."""
    dims = len(kernel)
    stride, dilation = _tuple(stride, dims), _tuple(dilation, dims)
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if isinstance(padding, str):
        margins = [(span // 2, span - span // 2) if padding == "same" else (0, 0) for span in spans]
    else:
        margins = [(p, p) for p in _tuple(padding, dims)]
    x = F.pad(x, [side for margin in reversed(margins) for side in margin]).contiguous()
    if positions is None:
        positions = [(size - span - 1) // s + 1 for size, span, s in zip(x.shape[2:], spans, stride, strict=True)]
    n, channels = x.shape[0], x.shape[1] // groups
    batch, channel, *steps = x.stride()
    along = [step * s for step, s in zip(steps, stride, strict=True)]
    within = [step * d for step, d in zip(steps, dilation, strict=True)]
    view = x.as_strided(
        (n, groups, *positions, channels, *kernel), (batch, channel * channels, *along, channel, *within)
    )
    return view.reshape(n, groups, math.prod(positions), channels * math.prod(kernel))


def _tuple(value, dims: int) -> tuple[int, ...]:
    value = (value,) if isinstance(value, int) else tuple(value)
    return value * dims if len(value) == 1 else value


def _grouped(x: Tensor, groups: int) -> Tensor:
    """(N, C, *sizes) as (N, groups, positions, C / groups)."""
    return x.unflatten(1, (groups, -1)).flatten(3).transpose(2, 3)


def _positions(x: Tensor, layout: Layout, n: int) -> Tensor:
    """(n m, groups, positions, channels) as (n, groups, m positions, channels)."""
    return layout.split(x, n).transpose(1, 2).flatten(2, 3)


#: function -> its layer
LAYERS = {
    F.linear: Linear(),
    F.embedding: Embedding(),
    F.layer_norm: Normalisation(F.layer_norm, "input", "normalized_shape", "weight", "bias", "eps"),
    F.group_norm: Normalisation(F.group_norm, "input", "num_groups", "weight", "bias", "eps"),
    F.rms_norm: Normalisation(F.rms_norm, "input", "normalized_shape", "weight", "eps"),
    F.batch_norm: Normalisation(
        F.batch_norm, "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"
    ),
    F.instance_norm: Normalisation(
        F.instance_norm, "input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps"
    ),
}
LAYERS |= dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), Convolution())
LAYERS |= dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), TransposedConvolution())
LAYERS |= dict.fromkeys(
    (torch.matmul, torch.mm, torch.Tensor.matmul, torch.Tensor.mm, torch.Tensor.__matmul__), MatrixProduct()
)
LAYERS |= dict.fromkeys((torch.add, torch.Tensor.add), Addition())
LAYERS |= dict.fromkeys((torch.mul, torch.Tensor.mul), Multiplication())
LAYERS |= {torch.Tensor.expand: Expansion()}
