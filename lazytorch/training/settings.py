"""How a model is trained."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch

from ..products import cudnn_benchmark
from .checks import check_counts, check_positive, check_seed, check_within
from .objective import Objective, find_objective
from .precision import check_precision, data_type, matmul_precision

NUMBERS = ("lr", "momentum", "beta", "batch_size", "seed", "evaluate_every", "patience", "tolerance")


@dataclass(frozen=True)
class Settings:
    """The settings of SGD; for each see :class:`lazytorch.Trainer`."""

    loss: str | Objective = "mse"
    lr: float = 1.0
    momentum: float = 0.9
    beta: float = 1 / 3
    batch_size: int = 128
    seed: int = 0
    precision: str = "float32"
    evaluate_every: int = 1
    patience: int = 0
    tolerance: float = 0.0
    compile: bool = False
    cudnn_benchmark: bool = False

    def __post_init__(self):
        for name in NUMBERS:
            value = getattr(self, name)
            if hasattr(value, "item"):  # numpy's numbers, which a checkpoint must not hold
                object.__setattr__(self, name, value.item())

    def check(self, device: torch.device) -> None:
        """Raise ValueError for the first setting that is out of range, or that the device does not have."""
        check_precision(self.precision, device)
        check_positive(lr=self.lr)
        dtype = data_type(self.precision)
        if self.lr > torch.finfo(dtype).max:
            raise ValueError(f"lr={self.lr:g} is more than {dtype} holds, every step would be infinite: give a smaller")
        check_counts(batch_size=self.batch_size, evaluate_every=self.evaluate_every)
        check_within(momentum=(self.momentum, 0, 1), beta=(self.beta, 0, math.inf), tolerance=(self.tolerance, 0, 1))
        if self.patience != 0:
            check_counts(patience=self.patience)
        check_seed(self.seed)
        find_objective(self.loss)

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """The context to compute in: TF32 and the choice of kernels as asked for, and as before afterwards."""
        with matmul_precision(self.precision), cudnn_benchmark(self.cudnn_benchmark):
            yield

    def learning_rate(self, epoch: int) -> float:
        """eta_t = eta_0 / (1 + beta t), with t the epoch from 0 (Chizat, Oyallon & Bach 2019, section 3.2)."""
        return self.lr / (1 + self.beta * epoch)

    def is_due(self, epoch: int, epochs: int) -> bool:
        """Whether to measure after this epoch of ``epochs``."""
        return epoch % self.evaluate_every == 0 or epoch == epochs

    def has_settled(self, rows: Sequence[Mapping]) -> bool:
        """Whether training is to stop after these evaluations: the last ``patience`` of them, if that is not 0, have
        each a validation accuracy at most ``tolerance`` above the best of those before."""
        best, since = -math.inf, 0
        for row in rows:
            accuracy = row["validation_accuracy"]
            best, since = (accuracy, 0) if accuracy > best + self.tolerance else (best, since + 1)
        return 0 < self.patience <= since

    def record(self) -> dict:
        """The settings as plain values, an own loss by its name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if not isinstance(self.loss, str):
            values["loss"] = getattr(self.loss, "__qualname__", type(self.loss).__qualname__)
        return values
