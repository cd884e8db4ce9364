"""A training step's forward pass, loss and backward pass as one compiled graph.

Where autograd runs a compiled pass forward and another backward, what the first has saved goes through memory, and
through Python; within one graph it need not.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .compiled import Backend, Graph, graph_of
from .differences import Program


def differentiate_compiled(
    program: Program,
    backend: Backend,
    epsilon: float,
    initial: dict,
    differences: dict,
    inputs: list[Tensor],
    objective: Callable,
    labels: Tensor,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(loss, output, name -> gradient of those among the ``differences`` that require one and reach the output).

    Raises as :func:`lazytorch.compiled.run_compiled`; a RuntimeError also if the objective cannot be traced.
    """
    wanted = frozenset(name for name, difference in differences.items() if difference.requires_grad)
    graph, tensors = graph_of(Step, program, backend, epsilon, initial, differences, inputs, wanted, objective)
    with torch.no_grad():
        return graph(*tensors, labels)


class Step(Graph):
    """Of a module that returns one tensor, and an ``objective`` of that and labels; gradients in those ``wanted``."""

    def __init__(self, *settings):
        *own, self.wanted, self.objective = settings
        self.reached: list[str] = []  # those of them that have a gradient, which tracing finds
        super().__init__(*own)

    def __call__(self, *tensors):
        arrived = self._compiled(*tensors)
        loss, output = next(arrived), next(arrived)
        return loss, output, dict(zip(self.reached, arrived, strict=False))

    @torch.enable_grad()
    def _run(self, initial, differences, scale, inputs, selected, labels) -> list[Tensor]:
        """The loss, the output, the gradients, then the flags of jumps that were lost."""
        differences = [
            d.detach().requires_grad_() if name in self.wanted else d
            for name, d in zip(self.moving, differences, strict=True)
        ]
        output, *lost = super()._run(initial, differences, scale, inputs, selected)
        loss = self.objective(output, labels)
        points = {n: d for n, d in zip(self.moving, differences, strict=True) if n in self.wanted}
        found = torch.autograd.grad(loss, list(points.values()), allow_unused=True)
        gradients = {name: gradient for name, gradient in zip(points, found, strict=True) if gradient is not None}
        self.reached = list(gradients)
        return [loss.detach(), output.detach(), *gradients.values(), *lost]
