"""Max pooling: the divided difference of a window's maximum is max_i ((a_i - m) / eps + d_i), m = max_i a_i."""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from .pair import rule

aten = torch.ops.aten


@rule(aten.max_pool2d_with_indices)
def max_pool2d(epsilon, out, x, kernel, stride=(), padding=0, dilation=1, ceil_mode=False):
    """Of the maximum, its difference; of the indices, those at w."""
    geometry = (_both(kernel), _both(stride or kernel), _both(padding), _both(dilation), ceil_mode)
    return _MaxPool.apply(epsilon, geometry, *x, *out)


class _MaxPool(torch.autograd.Function):
    """The gradient goes to the window's first maximal score (a_i - m) / eps + d_i; at eps = 0, to the argmax of a."""

    @staticmethod
    def forward(ctx, epsilon, geometry, a, d, maximum, indices):
        if epsilon == 0:
            out = d.flatten(-2).gather(-1, indices.flatten(-2)).view_as(indices)
        else:
            out, indices = _window_maximum(epsilon, geometry, a, d, maximum)
        ctx.shape, ctx.geometry = d.shape, geometry
        ctx.save_for_backward(indices)
        ctx.mark_non_differentiable(indices)
        return out, indices

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, _):
        (indices,) = ctx.saved_tensors
        shaped = gradient.new_empty(1).expand(ctx.shape)
        d = aten.max_pool2d_with_indices_backward(gradient.contiguous(), shaped, *ctx.geometry, indices)
        return None, None, None, d, None, None


def _window_maximum(epsilon, geometry, a, d, maximum):
    """Scan the window's offsets, keeping the best score and its flat position in the plane, as torch's indices are."""
    kernel, stride, padding, dilation, _ = geometry
    (height, width), rows, columns = a.shape[-2:], maximum.shape[-2], maximum.shape[-1]
    needed = [
        (n - 1) * s + (k - 1) * t + 1 for n, s, k, t in zip((rows, columns), stride, kernel, dilation, strict=True)
    ]
    margins = [padding[1], needed[1] - width - padding[1], padding[0], needed[0] - height - padding[0]]
    if any(margins):
        a, d = F.pad(a, margins, value=-torch.inf), F.pad(d, margins)
    best = offset = None
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows_here = slice(i * dilation[0], i * dilation[0] + (rows - 1) * stride[0] + 1, stride[0])
            columns_here = slice(j * dilation[1], j * dilation[1] + (columns - 1) * stride[1] + 1, stride[1])
            score = torch.sub(a[..., rows_here, columns_here], maximum).mul_(1 / epsilon)
            score.add_(d[..., rows_here, columns_here])
            if best is None:
                best, offset = score, torch.zeros_like(score, dtype=torch.int64)
            else:
                offset.masked_fill_(score > best, i * dilation[0] * width + j * dilation[1])
                torch.maximum(score, best, out=best)
    row = torch.arange(rows, device=a.device).unsqueeze(1) * stride[0] - padding[0]
    column = torch.arange(columns, device=a.device) * stride[1] - padding[1]
    return best, offset.add_(row * width + column)


def _both(size):
    sizes = [size] if isinstance(size, int) else list(size)
    return sizes * 2 if len(sizes) == 1 else sizes
