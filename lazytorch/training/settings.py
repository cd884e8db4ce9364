"""How a model is trained."""

import math
from dataclasses import asdict, dataclass

import torch

from .checks import check_counts, check_positive, check_seed, check_within
from .objective import Objective, find_objective
from .precision import check_precision
from .schedule import learning_rate


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

    def check(self, device: torch.device) -> None:
        """Raise ValueError for the first setting that is out of range, or that the device does not have."""
        check_positive(lr=self.lr)
        if self.lr > torch.finfo(torch.float32).max:
            raise ValueError(
                f"lr={self.lr:g} is more than float32 holds, every step would be infinite: give a smaller one"
            )
        check_counts(batch_size=self.batch_size, evaluate_every=self.evaluate_every)
        check_within(momentum=(self.momentum, 0, 1), beta=(self.beta, 0, math.inf))
        check_seed(self.seed)
        check_precision(self.precision, device)
        find_objective(self.loss)

    def learning_rate(self, epoch: int) -> float:
        """That of the steps of ``epoch``, from 0."""
        return learning_rate(self.lr, self.beta, epoch)

    def record(self) -> dict:
        """The settings as plain values, an own loss by its name."""
        loss = (
            self.loss
            if isinstance(self.loss, str)
            else getattr(self.loss, "__qualname__", type(self.loss).__qualname__)
        )
        return asdict(self) | {"loss": loss}
