"""Where the records of a training go: nowhere, or into its run directory, with TensorBoard's beside them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..runs import RunDirectory
from .probes import declared_quantities
from .state import save_checkpoint
from .tensorboard import TensorBoard

if TYPE_CHECKING:
    from .loop import Member


def failure(error: BaseException) -> dict:
    """The summary of a run that ended with ``error``."""
    return {"status": "failed", "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


class Sink:
    """Keeps nothing; what the loop tells every sink."""

    @contextmanager
    def opened(self, member: "Member") -> Iterator[None]:
        """Open while ``member`` is trained: from when it has been measured for the first time."""
        yield

    def append(self, row: dict) -> None:
        """A row of metrics; those from before the opening are in the member's state."""

    def save(self, name: str, member: "Member") -> None:
        """A checkpoint, "last" or "best"."""

    def close(self, summary: dict) -> None:
        """The summary, at the end."""


class RunSink(Sink):
    """Metrics, summary and checkpoints of a run directory that its caller has created and holds the lock of.

    ``settings`` and ``fingerprints``, which the Trainer sets, go into checkpoints; ``known`` is how many rows of metrics
    the run had before.
    """

    def __init__(self, run: RunDirectory):
        self.run = run
        self.settings: dict = {}
        self.fingerprints: dict = {}
        self.known = 0
        self.tensorboard: TensorBoard | None = None

    @contextmanager
    def opened(self, member: "Member") -> Iterator[None]:
        rows = member.state.rows
        self.run.rewrite_metrics(rows)
        first = rows[self.known - 1]["epoch"] + 1 if self.known else 0
        with TensorBoard(self.run.tensorboard, declared_quantities(member.probes), first) as self.tensorboard:
            for row in rows[self.known :]:
                self.tensorboard.log(row)
            if not self.known:
                self.save("best", member)
            try:
                yield
            except Exception as error:
                self.run.write_summary(failure(error) | {"alpha": member.model.alpha})
                raise
            finally:
                self.known, self.tensorboard = len(rows), None

    def append(self, row: dict) -> None:
        if self.tensorboard is not None:
            self.run.append(row)
            self.tensorboard.log(row)

    def save(self, name: str, member: "Member") -> None:
        if self.tensorboard is not None:
            save_checkpoint(self.run.checkpoint(name), member.state, self.settings, self.fingerprints)

    def close(self, summary: dict) -> None:
        if self.tensorboard is not None:
            self.tensorboard.close(self.settings, summary, self.run.metrics)
        self.run.write_summary(summary)
