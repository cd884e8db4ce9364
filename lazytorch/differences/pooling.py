"""Max pooling: the divided difference of a window's maximum is max_i ((a_i - m) / eps + d_i), m = max_i a_i."""

import functools
import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F

from ..transforms import active
from .function import Function, add, once_differentiable
from .pair import rule
from .standardisation import wide

aten = torch.ops.aten


def _pooling(operator, backward, dimensions: int):
    def max_pool(epsilon, out, x, kernel, stride=(), padding=0, dilation=1, ceil_mode=False):
        """Of the maximum, its difference; of the indices, those at w."""
        sizes = [_each(size, dimensions) for size in (kernel, stride or kernel, padding, dilation)]

        def vjp(gradient, like, indices):
            return backward(gradient, like, *sizes, ceil_mode, indices)

        def maximize(epsilon, a, d, maximum):
            if _are_tiles(a.shape[-dimensions:], *sizes):
                return operator(_scores_of_tiles(epsilon, a, d, maximum, sizes[0]), *sizes, ceil_mode)
            return _window_maximum(epsilon, a, d, maximum, *sizes)

        return _MaxPool.apply(epsilon, dimensions, maximize, vjp, *x, *out)

    return max_pool


def _adaptive_pooling(backward, dimensions: int):
    def adaptive_max_pool(epsilon, out, x, size):
        maximize = functools.partial(_adaptive_maximum, dimensions)
        return _MaxPool.apply(epsilon, dimensions, maximize, backward, *x, *out)

    return adaptive_max_pool


rule(aten.max_pool2d_with_indices)(_pooling(aten.max_pool2d_with_indices, aten.max_pool2d_with_indices_backward, 2))
rule(aten.max_pool3d_with_indices)(_pooling(aten.max_pool3d_with_indices, aten.max_pool3d_with_indices_backward, 3))
rule(aten.adaptive_max_pool2d)(_adaptive_pooling(aten.adaptive_max_pool2d_backward, 2))
rule(aten.adaptive_max_pool3d)(_adaptive_pooling(aten.adaptive_max_pool3d_backward, 3))


class _MaxPool(Function):
    """The gradient goes to the window's first maximal score a_i - m + eps d_i; at eps = 0, to the argmax of a.

    Scores of short types are in float32, as eps d leaves the range of float16.
    """

    @staticmethod
    def forward(ctx, epsilon, dimensions, maximize, vjp, a, d, maximum, indices):
        if epsilon == 0:
            out = _chosen(d, indices, dimensions)
        else:
            scores, indices = maximize(epsilon, *map(wide, (a, d, maximum)))
            out = scores.mul_(1 / epsilon).to(d.dtype)
        ctx.shape, ctx.vjp = d.shape, vjp
        ctx.save_for_backward(indices)
        ctx.mark_non_differentiable(indices)
        ctx.set_materialize_grads(False)
        return out, indices

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, _):
        (indices,) = ctx.saved_tensors
        if _is_channels_last(indices):
            shaped = torch.empty_like(gradient.new_empty(1).expand(ctx.shape), memory_format=torch.channels_last)
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        else:
            shaped, gradient = gradient.new_empty(1).expand(ctx.shape), gradient.contiguous()
        return None, None, None, None, None, ctx.vjp(gradient, shaped, indices), None, None


def _chosen(d, indices, dimensions: int):
    """What lies at flat positions of each plane; in channels_last, where both are so."""
    if _is_channels_last(d) and _is_channels_last(indices):
        d, indices = (t.permute(0, 2, 3, 1) for t in (d, indices))
        return d.flatten(1, 2).gather(1, indices.flatten(1, 2)).view_as(indices).permute(0, 3, 1, 2)
    return d.flatten(-dimensions).gather(-1, indices.flatten(-dimensions)).view_as(indices)


def _is_channels_last(t) -> bool:
    """Not inside transforms, which do not tell."""
    return t.dim() == 4 and not active() and t.is_contiguous(memory_format=torch.channels_last)


def _are_tiles(sizes, kernel, stride, padding, dilation) -> bool:
    """Whether every element is in exactly one window."""
    whole = all(size % k == 0 for size, k in zip(sizes, kernel, strict=True))
    return whole and kernel == stride and not any(padding) and set(dilation) == {1}


def _scores_of_tiles(epsilon, a, d, maximum, kernel):
    """a - m + eps d with each window's own m, whose pooling is eps times the difference."""
    dimensions = len(kernel)
    batch, counts = a.shape[:-dimensions], maximum.shape[-dimensions:]
    tiles, ones = ([*batch, *itertools.chain(*zip(counts, k, strict=True))] for k in (kernel, [1] * dimensions))
    scores = add(torch.sub(a.reshape(tiles), maximum.reshape(ones)), d.reshape(tiles), epsilon)
    return scores.reshape(a.shape)


def _window_maximum(epsilon, a, d, maximum, kernel, stride, padding, dilation):
    """Scan the window's offsets, keeping the best score and its flat position in the plane, as torch's indices are.

    The score is a - m + eps d, eps times the difference, as that of tiles and of :func:`_adaptive_maximum`.
    """
    sizes, counts = a.shape[-len(kernel) :], maximum.shape[-len(kernel) :]
    needed = [(n - 1) * s + (k - 1) * t + 1 for n, s, k, t in zip(counts, stride, kernel, dilation, strict=True)]
    margins = [(p, n - size - p) for p, n, size in zip(padding, needed, sizes, strict=True)]
    if any(map(any, margins)):
        flat = list(itertools.chain(*reversed(margins)))
        a, d = F.pad(a, flat, value=-torch.inf), F.pad(d, flat)

    def score_from(place):
        slices = [slice(i, i + (n - 1) * s + 1, s) for i, n, s in zip(place, counts, stride, strict=True)]
        window = (..., *slices)
        return add(torch.sub(a[window], maximum), d[window], epsilon)

    origin, *others = itertools.product(*(range(0, k * t, t) for k, t in zip(kernel, dilation, strict=True)))
    best = score_from(origin)
    offset = torch.zeros_like(best, dtype=torch.int64)
    for place in others:
        score = score_from(place)
        offset.clamp_min_((score > best) * _flat_position(place, sizes))  # later ones lie further on
        best.clamp_min_(score)
    first = [torch.arange(n, device=a.device) * s - p for n, s, p in zip(counts, stride, padding, strict=True)]
    return best, offset.add_(_flat_position(torch.meshgrid(*first, indexing="ij"), sizes))


def _adaptive_maximum(dimensions, epsilon, a, d, maximum):
    """Windows from floor(i size / count) to ceil((i + 1) size / count); short ones repeat their last element."""
    sizes, counts = a.shape[-dimensions:], maximum.shape[-dimensions:]
    places = [_window_places(*both, a.device) for both in zip(sizes, counts, strict=True)]
    for i, place in enumerate(places):  # to the shape (count_1, ..., count_n, window_1, ..., window_n)
        shape = [1] * (2 * dimensions)
        shape[i], shape[dimensions + i] = place.shape
        places[i] = place.view(shape)
    positions = _flat_position(places, sizes).flatten(dimensions)
    a, d = (part.flatten(-dimensions)[..., positions] for part in (a, d))
    scores = add(a - maximum.unsqueeze(-1), d, epsilon)
    index = scores.argmax(-1, keepdim=True)
    return scores.gather(-1, index).squeeze(-1), positions.expand_as(scores).gather(-1, index).squeeze(-1)


def _window_places(size: int, count: int, device):
    """(count, longest window): the places that each window covers, made on the device, which then need not wait."""
    longest = max(-(-(i + 1) * size // count) - i * size // count for i in range(count))
    i = torch.arange(count, device=device).unsqueeze(1)
    first, last = i * size // count, -(-(i + 1) * size // count) - 1
    return torch.minimum(first + torch.arange(longest, device=device), last)


def _flat_position(coordinates, sizes) -> Any:
    return sum(c * math.prod(sizes[i + 1 :]) for i, c in enumerate(coordinates))


def _each(size, dimensions: int) -> list:
    sizes = [size] if isinstance(size, int) else list(size)
    return sizes * dimensions if len(sizes) == 1 else sizes
