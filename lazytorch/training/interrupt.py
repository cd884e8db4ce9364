"""SIGTERM and Ctrl-C as a request to stop at the next step."""

import signal
import threading


class StopRequest:
    """While open, the first SIGINT or SIGTERM sets ``signal``; a second one acts as it did before.

    Only the main thread receives signals; elsewhere this does nothing.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.signal: int | None = None
        self._before: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
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
