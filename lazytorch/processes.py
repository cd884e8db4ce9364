"""The processes that share a computation: this one alone, or the members of a process group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Value = TypeVar("Value")

#: What an error of one process is in the others as well; any other is a RuntimeError there.
ALIKE = (ValueError, TypeError, FileExistsError)


class Processes:
    """The members of ``group``, or, for None, this process alone, whatever else runs under torch.distributed.

    What is said of all is done by all: each method, the attributes apart, is called by every member at the same place.

    Raises:
        ValueError: ``group`` is not one that this process is a member of.
    """

    def __init__(self, group: dist.ProcessGroup | None = None):
        if group is not None and not isinstance(group, dist.ProcessGroup):
            raise ValueError(
                f"group={group!r} is no torch.distributed.ProcessGroup that this process is a member of: give one, "
                "or None to compute alone"
            )
        self.group = group
        self.rank = 0 if group is None else dist.get_rank(group)
        self.count = 1 if group is None else dist.get_world_size(group)

    @property
    def part(self) -> tuple[int, int]:
        """Which of how many parts of the work is this process's: its number and how many there are."""
        return self.rank, self.count

    def add_up(self, tensor: Tensor) -> Tensor:
        """The tensor, which becomes the sum over all processes."""
        if self.group is not None:
            with _others_answer():
                dist.all_reduce(tensor, group=self.group)
        return tensor

    def add_up_gradients(self, parameters: Iterable[nn.Parameter], weight: float, totals: Tensor) -> Tensor:
        """Each gradient becomes the sum over all processes, each with its ``weight``; returns the sum of ``totals``.

        All in one flat buffer, so one message. A parameter that has no gradient counts as 0.
        """
        if self.group is None:
            return totals
        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        real = [torch.view_as_real(g) if g.is_complex() else g for g in gradients]
        flat = torch.cat([*(g.flatten().mul(weight) for g in real), totals.to(real[0].dtype)])
        *pieces, totals = self.add_up(flat).split([*(g.numel() for g in real), len(totals)])
        for parameter, own, piece in zip(parameters, real, pieces, strict=True):
            piece = piece.view(own.shape)
            parameter.grad = torch.view_as_complex(piece) if parameter.is_complex() else piece
        return totals

    def largest(self, number: int, device: torch.device) -> int:
        """The largest of the processes' numbers, each of which waits for the device to learn it."""
        if self.group is None:
            return number
        numbers = torch.tensor(number, device=device)
        with _others_answer():
            dist.all_reduce(numbers, dist.ReduceOp.MAX, group=self.group)
        return int(numbers.item())

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """The tensors become those of the first process."""
        if self.group is not None:
            with torch.no_grad():
                for tensor in tensors:
                    dist.broadcast(tensor.data, dist.get_global_rank(self.group, 0), group=self.group)

    def gather(self, value: Value) -> list[Value]:
        """The value of every process."""
        if self.group is None:
            return [value]
        values: list = [None] * self.count
        with _others_answer():
            dist.all_gather_object(values, value, group=self.group)
        return values

    def from_first(self, value: Value) -> Value:
        """The value of the first process."""
        return self.gather(value)[0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """If the block raises in one process, all raise at its end, and none waits for another in vain."""
        if self.group is None:
            yield
            return
        error = None
        try:
            yield
        except Exception as raised:
            error = raised
        kind = next((kind for kind in ALIKE if type(error) is kind), RuntimeError)
        errors: Sequence = self.gather(None if error is None else (kind, f"{type(error).__name__}: {error}"))
        if error is not None:
            raise error
        for rank, other in enumerate(errors):
            if other is not None:
                kind, message = other
                raise kind(f"process {rank} of the group: {message}")


@contextmanager
def _others_answer() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RuntimeError(
            f"another process has ended or does not answer ({' '.join(str(error).split())}): see what it says itself, "
            f"then start all of them again"
        ) from error
