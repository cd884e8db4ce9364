"""Centered models of one module at several alphas, which share the pass at w_0."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from .anchored import Anchored
from .centered import CenteredModel
from .signature import plain_attributes


class SharedStart:
    """Models at one w_0 and at several alphas; a call yields the output of each in turn.

    What the module computes at w_0 does not depend on alpha, so it is computed once a call: with c the cost of a
    forward pass, a training step of A models costs (4 A + 1) c, where each alone costs 5 c (a plain step is 3 c), and
    each of them at alpha <= 1 costs c less. Take the backward pass of each output before the next is asked for, and one
    graph is in memory at a time, beside what the module computes at w_0. Random operators are drawn once for all.

    From here on the models share the tensors of w_0 and its buffers, until :func:`separate`. Those that are compiled
    run here as without, as a graph would compute anew what is shared.

    Raises:
        ValueError: the models cannot share, see :func:`can_share`.
    """

    def __init__(self, models: Sequence[CenteredModel]):
        self.models = list(models)
        lead = self.models[0]
        for model in self.models[1:]:
            if not can_share(lead, model):
                raise ValueError(
                    "these models do not share a start: wrap one module with CenteredModel(net, alpha) at every alpha"
                )
            model.share_start(lead)

    def __call__(self, *args, **kwargs) -> Iterator:
        """The outputs, in the order of ``models``."""
        return (output() for output in self.deferred(*args, **kwargs))

    def deferred(self, *args, **kwargs) -> list[Callable]:
        """The outputs, in the order of ``models``, each computed when called; an error in one leaves the others."""
        record: dict = {}
        return [partial(model.forward_recorded, record, *args, **kwargs) for model in self.models]


def separate(model: Anchored) -> None:
    """Give a model tensors of w_0 and buffers of its own again."""
    if isinstance(model, CenteredModel):
        model.own_start()


def separate_buffers(model: Anchored) -> None:
    """Give a model buffers of its own again, as it stays where it is while others train; w_0 is in common still."""
    if isinstance(model, CenteredModel):
        model.own_buffers()


def lend_weights(model: Anchored, net: torch.nn.Module) -> None:
    """Let ``net``, whose weights are w_0, hold the model's own tensors of them, so that they are in memory once."""
    start = model.initial_weights()
    for name, parameter in net.named_parameters():
        parameter.data = start[name]


def can_share(left: Anchored, right: Anchored) -> bool:
    """Whether both are divided differences of the same module in the same mode, with equal w_0 and buffers there."""
    if not all(isinstance(model, CenteredModel) and model.difference == "divided" for model in (left, right)):
        return False
    start, other = left.initial_weights() | left.initial_buffers(), right.initial_weights() | right.initial_buffers()
    kinds = [[(type(part), plain_attributes(part)) for part in model.structure.modules()] for model in (left, right)]
    if kinds[0] != kinds[1] or start.keys() != other.keys() or left.theta.keys() != right.theta.keys():
        return False
    return all(t is other[name] or _equal(t, other[name]) for name, t in start.items())


def _equal(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.dtype == right.dtype and left.device == right.device and torch.equal(left, right)
