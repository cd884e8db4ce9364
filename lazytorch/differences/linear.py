"""Linear maps: the divided difference of L(x) is L applied to the divided difference of x."""

import torch

from .pair import Pair, UnsupportedOperator, as_pair, continuous, difference, is_continuous, rule
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
            return operator(x.value(epsilon), *args, **kwargs)
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
def as_strided(epsilon, out, x, *geometry):
    """Strides count in memory, where the difference may lie otherwise; a whole contiguous tensor lies in one way."""
    if not x.primal.is_contiguous() or x.primal.untyped_storage().nbytes() != x.primal.nbytes:
        raise UnsupportedOperator("it looks into the memory of a tensor that is not contiguous: index it instead")
    return x.difference.contiguous().as_strided(*geometry)


@rule(aten.cat)
def concatenate(epsilon, out, tensors, dim=0):
    return torch.cat([as_pair(t).difference for t in tensors], dim)


@rule(aten.constant_pad_nd)
def pad(epsilon, out, x, padding, value=0):
    return aten.constant_pad_nd(x.difference, padding, 0)


@rule(aten.copy)
def copy(epsilon, out, target, source, non_blocking=False):
    """The source, cast to the target's type and shape."""
    if not isinstance(source, Pair):
        return None
    if not is_continuous(out):
        return cast(epsilon, out, source, dtype=out.dtype).expand_as(out).clone()
    return source.difference.to(out.dtype).expand_as(out).clone()


@rule(aten.copy_)
def copy_(epsilon, out, target, source):
    """A buffer that the module updates; a counter has no difference."""
    if isinstance(target, Pair):
        target.difference.copy_(0 if difference(source) is None else source.difference.detach())
