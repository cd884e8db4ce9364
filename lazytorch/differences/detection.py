"""Torchvision's operators of detection networks, known by name, as torchvision need not be loaded."""

import functools

import torch

from .pair import Pair, UnsupportedOperator, primal, rule, value, varies


def _call(name: str, *arguments):
    return getattr(torch.ops.torchvision, name)(*arguments)


def _averages(name, epsilon, out, images, boxes, *settings):
    """Averages of an image over boxes are linear in the image."""
    _refuse(boxes, "boxes")
    result = _call(name, images.difference, boxes, *settings)
    return (result[0], None) if isinstance(result, tuple) else result


for _name in ("roi_align", "ps_roi_align", "ps_roi_pool"):
    rule(f"torchvision::{_name}")(functools.partial(_averages, _name))


@rule("torchvision::deform_conv2d")
def deformable_convolution(epsilon, out, images, weight, offset, mask, bias, *settings):
    """Linear in the images, in the weight and in the mask: one factor after another goes from w_0 to w."""
    _refuse(offset, "offsets")
    factors, nothing = [images, weight, mask], torch.zeros_like(primal(bias))
    terms = []
    for i, factor in enumerate(factors):
        if isinstance(factor, Pair):
            before, after = map(primal, factors[:i]), (value(f, epsilon) for f in factors[i + 1 :])
            x, v, m = (*before, factor.difference, *after)
            terms.append(_call("deform_conv2d", x, v, offset, m, nothing, *settings))
    if isinstance(bias, Pair):
        terms.append(bias.difference.reshape(-1, 1, 1).expand_as(out))
    return sum(terms[1:], terms[0])


def _refuse(positions, what: str) -> None:
    if varies(positions):
        raise UnsupportedOperator(
            f"its {what} depend on theta, for which there is no rule: compute them from what is frozen or an input, or "
            f'wrap with difference="direct" in float64'
        )
