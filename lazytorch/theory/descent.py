"""Full-batch gradient descent, as plain as theory has it."""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor


def descend(parameters: Iterable[Tensor], objective: Callable[[], Tensor], lr: float, steps: int) -> Iterator[float]:
    """Take ``steps`` steps w' = w - lr grad R(w) in place, and yield R before the first, and after each.

    ``objective()`` is R at the present ``parameters``, leaves that require gradients. Where R becomes infinite or nan
    it ends, without yielding that. What is yielded is R at the parameters as they are while the caller looks.
    """
    optimizer = torch.optim.SGD(parameters, lr=lr)
    for step in range(steps + 1):
        value = objective()
        if not math.isfinite(found := value.item()):
            return
        yield found
        if step < steps:
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
