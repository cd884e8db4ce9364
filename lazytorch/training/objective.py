"""The objective R(D_eps f(theta)); a step on theta is the step on w for the paper's R(alpha h(w)) / alpha^2."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Objective = Callable[[Tensor, Tensor], Tensor]


def mse(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean square over batch and outputs, against one-hot classes (labels (N,) integer) or targets (N, K)."""
    return F.mse_loss(outputs, labels if labels.is_floating_point() else one_hot(labels, outputs))


def cross_entropy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (N, K) with labels (N,) or class probabilities (N, K)."""
    return F.cross_entropy(outputs, labels)


def one_hot(labels: Tensor, like: Tensor) -> Tensor:
    """(N, K) with the type of ``like``; unlike ``F.one_hot`` it never asks the device for the largest label."""
    classes = torch.arange(like.shape[-1], device=like.device)
    return (labels.unsqueeze(-1) == classes).to(like.dtype)


def correct(outputs: Tensor, labels: Tensor) -> Tensor:
    """How many of the batch are classified right (argmax), as a tensor on its device; nan for floating targets."""
    if labels.is_floating_point():
        return outputs.new_full((), torch.nan)
    return (outputs.argmax(-1) == labels).sum()


OBJECTIVES: dict[str, Objective] = {"mse": mse, "cross_entropy": cross_entropy}


@functools.cache
def converting(objective: Objective, dtype: torch.dtype) -> Objective:
    """The objective of outputs that are converted to ``dtype`` first: of the same two always the same function."""
    return lambda outputs, labels: objective(outputs.to(dtype), labels)


def find_objective(loss: str | Objective) -> Objective:
    """``loss`` by name, or itself if it is a function (outputs, labels) -> mean loss of the batch."""
    if callable(loss):
        return loss
    if loss not in OBJECTIVES:
        raise ValueError(f"unknown loss {loss!r}: choose one of {', '.join(OBJECTIVES)}, or pass a function")
    return OBJECTIVES[loss]
