"""Where the records of a training go: nowhere, or into its run directory, with TensorBoard's beside them."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..quantities import Quantity
from ..runs import RunDirectory
from .state import State, save_checkpoint
from .tensorboard import TensorBoard


def failure(error: BaseException) -> dict:
    """The summary of a run that ended with ``error``."""
    return {"status": "failed", "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}


class Sink:
    """Keeps nothing; what the loop tells every sink."""

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Open from before the first measurement: raises what forbids to write here."""
        yield

    @contextmanager
    def opened(self, state: State) -> Iterator[None]:
        """Open while ``state`` changes, from when it has been measured for the first time; nothing is kept before."""
        yield

    def append(self, row: dict) -> None:
        """A row of metrics."""

    def save(self, name: str, state: State) -> None:
        """A checkpoint, "last" or "best"."""

    def close(self, summary: dict, rows: list[dict]) -> None:
        """The summary, at the end, and all rows of metrics."""


class RunSink(Sink):
    """Metrics, summary and checkpoints of a run directory that its caller has created and holds the lock of."""

    def __init__(self, run: RunDirectory):
        self.run = run
        self.settings: dict = {}
        self.fingerprints: dict = {}
        self.quantities: dict[str, Quantity] = {}
        self.known = 0  # rows of metrics that the run had before
        self.goes_on = False  # whether it has been asked to
        self.tensorboard: TensorBoard | None = None
        self.closed = False

    def inform(self, settings: dict, fingerprints: dict, quantities: dict[str, Quantity]) -> None:
        """What the Trainer knows: settings and fingerprints go into checkpoints, own quantities to TensorBoard."""
        self.settings, self.fingerprints, self.quantities = settings, fingerprints, quantities

    @contextmanager
    def opened(self, state: State) -> Iterator[None]:
        rows, known = state.rows, self.known
        self.run.rewrite_metrics(rows)
        first = rows[known - 1]["epoch"] + 1 if known else 0
        alpha, self.closed = {"alpha": state.model.alpha}, False
        with TensorBoard(self.run.tensorboard, self.quantities, first) as self.tensorboard:
            self.tensorboard.describe(self.run.config)
            self.tensorboard.arrange()
            for row in rows[known:]:
                self.tensorboard.log(row)
            if not known:
                self.save("best", state)
            try:
                yield
            except KeyboardInterrupt:
                self._note(alpha | {"status": "interrupted"})
                raise
            except Exception as error:
                self._note(alpha | failure(error))
                raise
            finally:
                self.known, self.tensorboard = len(rows), None

    def append(self, row: dict) -> None:
        if self.tensorboard is not None:
            self.run.append(row)
            self.tensorboard.log(row)

    def save(self, name: str, state: State) -> None:
        if self.tensorboard is not None:
            save_checkpoint(self.run.checkpoint(name), state, self.settings, self.fingerprints)

    def close(self, summary: dict, rows: list[dict]) -> None:
        if self.tensorboard is not None:
            self.tensorboard.close(rows)
        self.run.rewrite_metrics(rows)  # whatever has become of the file
        self.run.write_summary(summary)
        self.closed = True

    def _note(self, end: dict) -> None:
        """How the training has ended that did not finish, beside what the summary says already."""
        if not self.closed:
            self.run.write_summary((self.run.summary or {}) | end)


class Follower(RunSink):
    """What processes other than the first have: they go on from the run directory, and write nothing."""

    claimed = Sink.claimed
    opened = Sink.opened
    append = Sink.append
    save = Sink.save
    close = Sink.close
