"""One of the models that are trained: where it is, what it is trained on and how, and where its records go."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from ..anchored import Anchored
from ..data import DeviceData
from ..processes import Processes
from .objective import Objective
from .precision import autocast
from .settings import Settings
from .sinks import Sink
from .state import State

ALIKE = ("seed", "batch_size", "precision", "cudnn_benchmark")  # settings of members that share batches


@dataclass(eq=False)
class Member:
    """``output_shape`` is that of one example; ``status`` and ``not_measured`` (probe -> why) are for the summary.

    ``processes`` train it, each on a part of every batch. ``error`` is what a member ended with whose status is
    "failed", ``summary`` what came of it in the end.
    """

    state: State
    train: DeviceData
    test: DeviceData
    validation: DeviceData | None
    settings: Settings
    objective: Objective
    output_shape: tuple[int, ...]
    fingerprints: dict[str, str]
    probes: list[Callable] = field(default_factory=list)
    sink: Sink = field(default_factory=Sink)
    processes: Processes = field(default_factory=Processes)
    status: str = "running"
    not_measured: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None
    summary: dict | None = None

    @property
    def model(self) -> Anchored:
        """What is trained."""
        return self.state.model

    @property
    def device(self) -> torch.device:
        """Where it is trained."""
        return self.state.totals.device

    @property
    def position(self) -> tuple[int, int]:
        """Epochs, and steps of the next one."""
        return self.state.epoch, self.state.step

    def share_of_batch(self, length: int) -> float:
        """Which share of the next batch ``length`` examples are, those that this process has."""
        if self.processes.count == 1:
            return 1.0
        size = self.settings.batch_size
        return length / min(size, len(self.train) - self.state.step * size)

    def autocast(self):
        """The context to call the model in."""
        return autocast(self.settings.precision, self.device)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """An error inside is this member's own: it fails, and others go on; but of several processes none waits."""
        try:
            yield
        except Exception as error:
            self.error, self.status = error, "failed"
            if self.processes.count > 1:
                raise

    @property
    def has_not_failed(self) -> bool:
        """Whether no error has ended it."""
        return self.status != "failed"

    def is_running(self, epochs: int) -> bool:
        """Whether there is more to train."""
        return self.status == "running" and self.state.epoch < epochs and not self.has_settled

    @property
    def has_settled(self) -> bool:
        """Whether the stopping rule has ended the training, see :meth:`Settings.has_settled`."""
        return self.settings.patience > 0 and self.settings.has_settled(self.state.rows)

    def is_due(self, epochs: int) -> bool:
        """Whether to measure after the epoch that has just ended."""
        return self.settings.is_due(self.state.epoch, epochs)

    def is_unmeasured(self, epochs: int) -> bool:
        """At the start, and where a run ends whose last epoch was not due when it was trained."""
        last, epoch = self.state.last, self.state.epoch
        return last is None or (epoch >= epochs and last["epoch"] != epoch)

    def has_batches_of(self, other: "Member") -> bool:
        """Whether the next batches are the same, of the same network in the same arithmetic, and neither is compiled.

        Compiled models would run as without beside others.
        """
        return (
            self.train is other.train
            and not (self.settings.compile or other.settings.compile)
            and self.position == other.position
            and self.fingerprints["network"] == other.fingerprints["network"]
            and all(getattr(self.settings, name) == getattr(other.settings, name) for name in ALIKE)
        )

    @property
    def is_in_one_graph(self) -> bool:
        """Whether its steps are: it is compiled, and its loss one of ours, as Python code of another may change.

        Not at alpha <= 1, where a convolutional network takes a tenth longer so.
        """
        return self.settings.compile and isinstance(self.settings.loss, str) and self.model.alpha > 1
