"""Linear maps: the divided difference of L(x) is L applied to the divided difference of x."""

import functools
import math

import torch
from torch.utils._python_dispatch import _disable_current_modes

from .jumps import continuous
from .pair import Pair, UnsupportedOperator, as_pair, difference, is_continuous, rule
from .rounding import cast

aten = torch.ops.aten

#: Linear in their first argument, all other arguments being constants.
LINEAR = (
    aten._adaptive_avg_pool2d,
    aten._adaptive_avg_pool3d,
    aten._conj,
    aten._conj_physical,
    aten._fft_c2c,
    aten._fft_c2r,
    aten._fft_r2c,
    aten._neg_view,
    aten._reshape_alias,
    aten._upsample_bicubic2d_aa,
    aten._upsample_bilinear2d_aa,
    aten._upsample_nearest_exact1d,
    aten._upsample_nearest_exact2d,
    aten._upsample_nearest_exact3d,
    aten.alias,
    aten.avg_pool2d,
    aten.avg_pool3d,
    aten.clone,
    aten.col2im,
    aten.cumsum,
    aten.detach,
    aten.diagonal,
    aten.expand,
    aten.flip,
    aten.im2col,
    aten.imag,
    aten.lift_fresh_copy,
    aten.mean,
    aten.neg,
    aten.permute,
    aten.real,
    aten.reflection_pad1d,
    aten.reflection_pad2d,
    aten.reflection_pad3d,
    aten.repeat,
    aten.replication_pad1d,
    aten.replication_pad2d,
    aten.replication_pad3d,
    aten.reshape,
    aten.roll,
    aten.select,
    aten.slice,
    aten.split,
    aten.split_with_sizes,
    aten.squeeze,
    aten.sum,
    aten.t,
    aten.transpose,
    aten.tril,
    aten.triu,
    aten.unbind,
    aten.unfold,
    aten.unsqueeze,
    aten.upsample_bicubic2d,
    aten.upsample_bilinear2d,
    aten.upsample_linear1d,
    aten.upsample_nearest1d,
    aten.upsample_nearest2d,
    aten.upsample_nearest3d,
    aten.upsample_trilinear3d,
    aten.view_as_complex,
    aten.view_as_real,
)


def _linear(operator):
    def apply_to_difference(epsilon, out, x, *args, **kwargs):
        if isinstance(out, torch.Tensor) and not is_continuous(out):  # a sum as integers
            return operator(cast(epsilon, out, x, dtype=out.dtype), *args, **kwargs)
        return operator(x.difference, *args, **kwargs)

    return apply_to_difference


for _operator in LINEAR:
    rule(_operator)(_linear(_operator))


@rule(aten.add)
def add(epsilon, out, left, right, *, alpha=1):
    return _sum(epsilon, out, left, right, alpha)


@rule(aten.sub)
def subtract(epsilon, out, left, right, *, alpha=1):
    return _sum(epsilon, out, left, right, -alpha)


@rule(aten.rsub)
def subtract_from(epsilon, out, left, right, alpha=1):
    return _sum(epsilon, out, right, left, -alpha)


def _sum(epsilon, out, left, right, alpha):
    du, dv = (difference(continuous(t, epsilon, out.dtype)) for t in (left, right))
    if du is None:
        return (alpha * dv).expand_as(out)
    if dv is None:
        return du.expand_as(out)
    return torch.add(du, dv, alpha=alpha)


@rule(aten.as_strided)
def as_strided(epsilon, out, x, size, stride, offset=None):
    """Strides count in the memory of the value at w_0, where the difference may lie otherwise: an index of elements."""
    primal = x.primal
    start = primal.storage_offset()
    offset = start if offset is None else offset
    within = primal.untyped_storage().nbytes() // primal.element_size()
    index = _elements(tuple(primal.shape), primal.stride(), start, within, tuple(size), tuple(stride), offset)
    return x.difference.reshape(size) if index is None else x.difference.reshape(-1)[index.to(primal.device)]


@functools.lru_cache(maxsize=16)
def _elements(shape, strides, start, within, size, stride, offset) -> torch.Tensor | None:
    """Which elements of a tensor, counted in order, lie where a view of its memory looks; None for all, in order.

    The view of all is that of adaptive pooling in channels_last; its index would go to the device at every call.
    """
    if any(stride == 0 and length > 1 for stride, length in zip(strides, shape, strict=True)):
        raise UnsupportedOperator("it looks into the memory of a tensor that is expanded: clone that first")
    with torch.inference_mode(False), _disable_current_modes():  # for calls in other modes too
        memory = torch.full((within,), -1)
        memory.as_strided(shape, strides, start).copy_(torch.arange(math.prod(shape)).view(shape))
        index = memory.as_strided(size, stride, offset).contiguous()
        if (index < 0).any():
            raise UnsupportedOperator("it looks into memory beside its tensor, a part of another: index that instead")
        return None if torch.equal(index.flatten(), torch.arange(math.prod(shape))) else index


@rule(aten.cat)
def concatenate(epsilon, out, tensors, dim=0):
    return torch.cat([as_pair(t).difference for t in tensors], dim)


@rule(aten.constant_pad_nd)
def pad(epsilon, out, x, padding, value=0):
    return aten.constant_pad_nd(x.difference, padding, 0)


@rule(aten.copy_)
def copy_(epsilon, out, target, source):
    """A buffer that the module updates; a counter has no difference."""
    if isinstance(target, Pair) and isinstance(source, Pair):
        target.difference.copy_(source.difference.detach())
    elif isinstance(target, Pair):
        target.difference.zero_()
