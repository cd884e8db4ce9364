"""Progress bars on stderr: redrawn in place on a terminal, a plain line now and then in a log, none if switched off."""

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
SWITCH = "LAZYTORCH_PROGRESS"
TERMINAL_INTERVAL, LOG_INTERVAL = 0.2, 30.0  # seconds


def bar(iterable: Iterable[T] | None = None, **options: Any) -> tqdm[T]:
    """A tqdm bar over ``iterable``, or one to ``update()``; ``options`` are tqdm's.

    On a terminal it is redrawn at most every 0.2 s, in a notebook it is a widget; elsewhere the first state, one every
    30 s and the last are plain lines. The environment variable LAZYTORCH_PROGRESS=0 disables all bars.
    """
    from tqdm import auto, std

    in_notebook = auto.tqdm.__mro__[1] is not std.tqdm
    if in_notebook or sys.stderr.isatty():
        defaults = {"dynamic_ncols": True, "mininterval": TERMINAL_INTERVAL}
    else:
        defaults = {"file": _Lines(), "mininterval": LOG_INTERVAL, "maxinterval": LOG_INTERVAL}
    if is_silent():
        options["disable"] = True
    return auto.tqdm(iterable, **(defaults | options))  # type: ignore[return-value]


def is_silent() -> bool:
    """Whether LAZYTORCH_PROGRESS=0 switches off what is only said on the way: bars, and the line of a plan."""
    return os.environ.get(SWITCH) == "0"


def progress(items: Sequence[T], what: str) -> tqdm[T]:
    """The items, with a bar that counts them if they are ``MANY`` or more."""
    return bar(items, desc=f"reading {what}", disable=len(items) < MANY)


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
