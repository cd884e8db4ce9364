"""Progress bars on stderr: redrawn in place on a terminal, a line now and then elsewhere, none if switched off."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

MANY = 5000
SWITCH, LINES = "LAZYTORCH_PROGRESS", "lines"
TERMINAL_INTERVAL, LOG_INTERVAL, LATE = 0.2, 30.0, 10.0  # seconds


def bar(iterable: Iterable[T] | None = None, **options: Any) -> tqdm[T]:
    """A tqdm bar over ``iterable``, or one to ``update()``; ``options`` are tqdm's.

    On a terminal it is redrawn at most every 0.2 s, in a notebook it is a widget; elsewhere, or where TERM=dumb, the
    first state, one every 30 s and the last are plain lines. The environment variable LAZYTORCH_PROGRESS=0 disables all
    bars, LAZYTORCH_PROGRESS=lines makes lines of them everywhere.
    """
    from tqdm import auto, std

    kind: Any = auto.tqdm
    in_notebook = kind.__mro__[1] is not std.tqdm
    if os.environ.get(SWITCH) != LINES and (in_notebook or _can_redraw()):
        defaults: dict = {"dynamic_ncols": True, "mininterval": TERMINAL_INTERVAL}
    else:
        kind = std.tqdm
        defaults = {"file": _Lines(), "mininterval": LOG_INTERVAL, "maxinterval": LOG_INTERVAL}
    if is_silent():
        options["disable"] = True
    return kind(iterable, **(defaults | options))


def is_silent() -> bool:
    """Whether LAZYTORCH_PROGRESS=0 switches off what is only said on the way: bars, and the line of a plan."""
    return os.environ.get(SWITCH) == "0"


def progress(items: Sequence[T], what: str) -> tqdm[T]:
    """The items, with a bar that counts them if they are ``MANY`` or more."""
    return bar(items, desc=f"reading {what}", disable=len(items) < MANY)


class LateBar:
    """A :func:`bar` to ``update()`` in a with statement, which is made once LATE seconds have passed.

    As tqdm's own delay does; but a notebook keeps every widget that is made, be it shown or not.
    """

    def __init__(self, **options: Any):
        self.n = 0
        self._options = options
        self._bar: tqdm | None = None
        self._due = time.monotonic() + LATE

    def update(self, count: int = 1) -> None:
        """Count so many more."""
        self.n += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() >= self._due:
            self._bar = bar(initial=self.n, **self._options)

    def __enter__(self) -> LateBar:
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()


def _can_redraw() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class _Lines:
    """stderr for a bar that is no terminal's: whole lines, one every LOG_INTERVAL, and the last."""

    def __init__(self):
        self._due, self._unwritten = 0.0, ""

    def write(self, text: str) -> None:
        self._unwritten = text.strip() or self._unwritten
        if text == "\n" or time.monotonic() >= self._due:  # the bar's last word is the line break
            self._write_line()

    def flush(self) -> None:
        sys.stderr.flush()

    def _write_line(self) -> None:
        if self._unwritten:
            sys.stderr.write(self._unwritten + "\n")
            # a little less, so that a bar that keeps the interval itself is not held back to the next
            self._due = time.monotonic() + 0.9 * LOG_INTERVAL
        self._unwritten = ""
