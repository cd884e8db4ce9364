"""SIGTERM, Ctrl-C and a scheduler's signal as a request to stop at the next step."""

import signal
import sys
import threading

SCHEDULERS = getattr(signal, "SIGUSR2", signal.SIGTERM)  # Windows has none


def stopping_signals() -> tuple[int, ...]:
    """Those that ask a run to stop: SIGINT, and SIGTERM or, under a scheduler, its own signal.

    A launcher for Slurm (submitit) handles SIGUSR2, which comes before a time-out or a preemption: it queues the job
    again. There SIGTERM, which comes first, is left to it.
    """
    return signal.SIGINT, SCHEDULERS if callable(signal.getsignal(SCHEDULERS)) else signal.SIGTERM


def hand_on(number: int) -> None:
    """Give a scheduler's signal to its own handler, which queues the job again, and end; others need none."""
    if number == SCHEDULERS != signal.SIGTERM:
        signal.raise_signal(number)
        sys.exit(0)  # of several tasks the first has ended in its handler


class StopRequest:
    """While open, the first of the :func:`stopping_signals` sets ``signal``; a second one acts as it did before.

    Only the main thread receives signals; elsewhere this does nothing.
    """

    def __init__(self):
        self.signal: int | None = None
        self._before: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in stopping_signals()}
        return self

    def __exit__(self, *_):
        self._restore()

    def _receive(self, number, _):
        self.signal = number
        self._restore()

    def _restore(self):
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
