"""Decompositions beyond torch's core table, into operators that have rules.

A decomposition that returns NotImplemented leaves the operator in the trace, to its rule or to the refusal by name.
"""

import functools

import torch
import torch._refs.linalg
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._decomp.decompositions import one_layer_lstm

from ..functional import real_parts
from .pair import find_rule

aten = torch.ops.aten

#: Decompositions that torch has but keeps out of its core table.
FURTHER = (
    aten.addmv.default,
    aten.bucketize.Tensor,
    aten.dist.default,
    aten.grid_sampler_2d.default,
    aten.normal.float_Tensor,
    aten.normal.Tensor_float,
    aten.normal.Tensor_Tensor,
)
OWN = {}


def decompositions() -> dict:
    """Operator -> its decomposition, for the operators without a rule, and those of which a rule covers a part."""
    return {operator: how for operator, how in _table().items() if not find_rule(operator)} | OWN


@functools.cache  # torch takes 0.15 s for it, at every trace
def _table() -> dict:
    return dict(core_aten_decompositions().items()) | get_decompositions(FURTHER)


def decomposition(*operators):
    def register(function):
        OWN.update(dict.fromkeys(operators, function))
        return function

    return register


@decomposition(aten.linalg_vector_norm.default)
def vector_norm(x, order=2, dim=None, keepdim=False, *, dtype=None):
    if order == 2 and not x.is_complex():
        return NotImplemented
    x = x.abs() if x.is_complex() else x
    return torch._refs.linalg.vector_norm(x, order, dim, keepdim, dtype=dtype)


def grouped_product(left, right, ends=None, bias=None, out_dtype=None):
    """Rows up to each of ``ends`` by the matrix of their expert: of every expert all rows, and then those that are its.

    Experts times the products, as what is whose may depend on theta.
    """
    if ends is None or left.dim() != 2 or right.dim() != 3 or bias is not None:
        return NotImplemented
    rows = torch.arange(len(left), device=left.device)
    starts = torch.cat([ends.new_zeros(1), ends[:-1]])
    out = left.new_zeros(len(left), right.shape[-1])
    for expert in range(len(right)):
        own = (rows >= starts[expert]) & (rows < ends[expert])
        out = torch.where(own.unsqueeze(1), left @ right[expert], out)
    return out if out_dtype is None else out.to(out_dtype)


if hasattr(aten, "_grouped_mm"):  # since torch 2.8
    decomposition(aten._grouped_mm.default)(grouped_product)


@decomposition(aten.copy.default)
def copy(target, source, non_blocking=False):
    """The source, with the target's type and shape."""
    return source.to(target).expand_as(target).clone()


def _by_real_parts(scatter):
    """A scatter along a dimension, of which torch has no derivative for complex numbers."""

    @decomposition(scatter.default)
    def scattered(x, source, dim=0, *where):
        if not x.is_complex():
            return NotImplemented
        return torch.view_as_complex(scatter(real_parts(x), real_parts(source), dim % x.dim(), *where))


_by_real_parts(aten.select_scatter)
_by_real_parts(aten.slice_scatter)


@decomposition(aten._cdist_forward.default)
def cdist(left, right, p, compute_mode):
    return torch.linalg.vector_norm(left.unsqueeze(-2) - right.unsqueeze(-3), p, -1)


@decomposition(aten._pdist_forward.default)
def pdist(x, p=2):
    i, j = torch.triu_indices(len(x), len(x), 1, device=x.device)
    return torch.linalg.vector_norm(x[i] - x[j], p, -1)


@decomposition(aten._trilinear.default)
def trilinear(left, middle, right, expand1, expand2, expand3, summed, unroll_dim=1):
    """The sum over the dimensions ``summed`` of a product, each factor constant along the dimensions it expands."""
    size = left.dim() + len(expand1)
    factors = [[i for i in range(size) if i not in expand] for expand in (expand1, expand2, expand3)]
    operands = [part for pair in zip((left, middle, right), factors, strict=True) for part in pair]
    return torch.einsum(*operands, [i for i in range(size) if i not in summed])


@decomposition(aten.abs.default)
def absolute(x):
    return torch.linalg.vector_norm(torch.view_as_real(x), dim=-1) if x.is_complex() else NotImplemented


@decomposition(aten.angle.default)
def angle(x):
    return torch.atan2(x.imag, x.real) if x.is_complex() else NotImplemented


@decomposition(aten.polar.default)
def polar(radius, angle):
    return torch.complex(radius * angle.cos(), radius * angle.sin())


@decomposition(aten.copysign.Tensor, aten.copysign.Scalar)
def copysign(x, sign):
    sign = sign if isinstance(sign, torch.Tensor) else x.new_full((), sign)
    return torch.where(sign.signbit(), -x.abs(), x.abs())


@decomposition(aten.logcumsumexp.default)
def logcumsumexp(x, dim):
    """Of the last 1, 2, 4, 8, ... elements."""
    n, reached = x.shape[dim] if x.dim() else 1, 1
    while reached < n:
        start, rest = x.split([reached, n - reached], dim)
        x, reached = torch.cat([start, torch.logaddexp(rest, x.narrow(dim, 0, n - reached))], dim), 2 * reached
    return x


@decomposition(aten.masked_select.default)
def masked_select(x, mask):
    x, mask = torch.broadcast_tensors(x, mask)
    return x[mask]


@decomposition(aten.scatter_reduce.two)
def scatter_reduce(x, dim, index, source, reduce, *, include_self=True):
    """Sums and means; other reductions have no rule."""
    if reduce not in ("sum", "mean"):
        return NotImplemented
    start = x if include_self else x.scatter(dim, index, 0)
    total = start.scatter_add(dim, index, source)
    if reduce == "sum":
        return total
    ones = torch.ones_like(start) if include_self else torch.ones_like(start).scatter(dim, index, 0)
    return total / ones.scatter_add(dim, index, torch.ones_like(source))


@decomposition(aten._embedding_bag.default, aten._embedding_bag_forward_only.default)
def embedding_bag(
    weight, indices, offsets, scale=False, mode=0, sparse=False, factors=None, include_last=False, padding_idx=-1
):
    """Sums (mode 0) and means (1) of rows; the maximum (2) has no rule."""
    if mode == 2:
        return NotImplemented
    bags = len(offsets) - include_last
    bag = torch.searchsorted(offsets[:bags], torch.arange(len(indices), device=indices.device), right=True) - 1
    used = (indices != padding_idx).to(weight.dtype)
    rows = weight[indices] * (used if factors is None else used * factors).unsqueeze(1)
    total = weight.new_zeros(bags, weight.shape[1]).index_add(0, bag, rows)
    size = torch.zeros_like(offsets[:bags]).index_add(0, bag, used.to(offsets.dtype))
    if mode == 1:
        total = total / size.clamp(min=1).unsqueeze(1)
    return total, bag, size, size


@decomposition(aten.mv.default)
def matrix_vector_product(matrix, vector):
    """Torch's own takes the matrix for a dense one."""
    return torch.mm(matrix, vector.unsqueeze(1)).squeeze(1)


@decomposition(aten.lerp.Tensor)
def interpolate(start, end, weight):
    """Torch's own chooses among two forms by the weight, where the terms of a difference jump and cancel."""
    return start + weight * (end - start)


@decomposition(aten.addbmm.default)
def add_sum_of_matrix_products(x, left, right, *, beta=1, alpha=1):
    return beta * x + alpha * torch.bmm(left, right).sum(0)


@decomposition(aten.mkldnn_rnn_layer.default)
def lstm_layer(x, w_input, w_hidden, b_input, b_hidden, h, c, reverse, *sizes):
    """LSTM alone comes as this operator; torch's plain implementation unrolls it."""
    parameters = (w_input, w_hidden, b_input, b_hidden)
    start = [state.reshape(state.shape[-2:]) for state in (h, c)]
    y, (last_h, last_c) = one_layer_lstm(x, start, parameters, True, reverse)
    return y, last_h.view_as(h), last_c.view_as(c), y


@decomposition(aten.rrelu_with_noise.default)
def randomized_relu(x, noise, lower=0.125, upper=1 / 3, training=False, generator=None):
    """A slope is drawn for every unit, active or not, so that one draw serves both weights."""
    slope = torch.rand_like(x) * (upper - lower) + lower if training else (lower + upper) / 2
    return slope * x + (1 - slope) * torch.relu(x)


@decomposition(aten.rrelu_with_noise_functional.default)
def randomized_relu_with_noise(x, noise, *settings, **generator):
    """The noise, which only torch's own gradient asks for, is not."""
    return randomized_relu(x, noise, *settings, **generator), noise
