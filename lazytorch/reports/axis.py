"""An x axis on which every value has a place: infinity right of a break, on a logarithmic axis zero left of one."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from .values import number, spell

MAX_TICKS = 8
DENSE = 20  # values, beyond which a logarithmic axis ends with them and not with their decades
FAR = 1.5  # decades from the outermost value to infinity, or to zero


class Axis:
    """Places ``values``, numbers or words, on an axis that is logarithmic if ``log``.

    Infinity is a decade and a half right of the largest decade, after a break; on a logarithmic axis zero is so on the
    left. Words are side by side, in their order.
    """

    def __init__(self, values: Sequence, log: bool = False):
        numbers = [number(value) for value in values]
        self.words = [value for value in values if number(value) is None] and list(dict.fromkeys(values))
        finite = sorted({value for value in numbers if value is not None and math.isfinite(value)})
        self.log = log and not self.words and (not finite or finite[0] >= 0)
        self.zero = self.log and 0.0 in finite
        self.infinite = not self.words and math.inf in numbers
        self.finite = [value for value in finite if value or not self.log]
        self._spelt = False
        self._set_extent()

    def place(self, value: object) -> float:
        """The coordinate of ``value``."""
        if self.words:
            return float(self.words.index(value))
        found = number(value)
        if found is None:
            return math.nan
        if self.log and found == 0:
            return 10.0 ** (self._low - self._far)
        if found == math.inf:
            return 10.0 ** (self._high + self._far) if self.log else self._high + self._far
        return found

    def dress(self, axes: Axes) -> None:
        """Scale, limits, ticks and breaks of the x axis of ``axes``."""
        if self.words:
            self._dress_words(axes)
            return
        if self.log:
            axes.set_xscale("log")
        left, right = self._limits()
        axes.set_xlim(*((10.0**left, 10.0**right) if self.log else (left, right)))
        ticks = self._ticks(axes)
        labels = [self._spell(tick) for tick in ticks]
        ends = [0.0] * self.zero + [math.inf] * self.infinite
        if ends or self.log:
            every = [*ticks, *map(self.place, ends)]
            axes.xaxis.set_major_locator(FixedLocator(every))
            axes.set_xticks(every, [*labels, *("0" if not end else "$\\infty$" for end in ends)])
        if self.log:
            axes.xaxis.set_minor_locator(FixedLocator(self._minor_ticks()))
            axes.xaxis.set_minor_formatter(NullFormatter())
        for at in self._breaks():
            _draw_break(axes, (at - left) / (right - left))

    def _set_extent(self) -> None:
        """The outermost finite values, or their decades, and the distance of infinity; on a log axis in decades."""
        if not self.log:
            self._low, self._high = (self.finite[0], self.finite[-1]) if self.finite else (0.0, 0.0)
            self._far = 0.2 * (self._high - self._low) or 1.0
            self._margin = 0.2 * self._far if len(self.finite) > 1 else 0.5
            return
        logs = [math.log10(value) for value in self.finite] or [0.0]
        self._far = FAR
        self._low, self._high = math.floor(logs[0] + 1e-9), math.ceil(logs[-1] - 1e-9)
        self._margin = 0.5
        if len(logs) > DENSE:
            self._low, self._high = logs[0], logs[-1]
            self._margin = 0.04 * (self._high - self._low)
        if self._is_spelt(logs):
            self._low, self._high = logs[0], logs[-1]
            self._margin = max(0.12 * (self._high - self._low), 0.1)
            self._spelt = True

    def _is_spelt(self, logs: list[float]) -> bool:
        """Whether the ticks are the values: few, apart, within three decades, and not all of them decades."""
        decades = all(abs(log - round(log)) < 1e-9 for log in logs)
        apart = 0.08 * (logs[-1] - logs[0] + FAR * self.infinite + FAR * self.zero)
        return (
            1 < len(logs) <= 8
            and logs[-1] - logs[0] <= 3
            and not decades
            and min(b - a for a, b in pairwise(logs)) >= apart
        )

    def _limits(self) -> tuple[float, float]:
        """The ends of the axis; of a logarithmic one their logarithms."""
        beyond = self._far + (0.5 if self.log else 0.5 * self._far)
        left = self._low - (beyond if self.zero else self._margin)
        return left, self._high + (beyond if self.infinite else self._margin)

    def _breaks(self) -> list[float]:
        if not self.finite:
            return []
        return [self._low - self._far / 2] * self.zero + [self._high + self._far / 2] * self.infinite

    def _ticks(self, axes: Axes) -> list[float]:
        """Of a logarithmic axis decades, or the values themselves."""
        if not self.log:
            whole = all(value == int(value) for value in self.finite)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=whole))
            low = self._limits()[0]
            return [tick for tick in axes.xaxis.get_major_locator()() if low <= tick <= self._high + self._margin]
        if self._spelt:
            return self.finite
        first, last = math.ceil(self._low - 1e-9), math.floor(self._high + 1e-9)
        step = max(1, math.ceil((last - first) / MAX_TICKS))
        return [10.0**k for k in range(first, last + 1, step)] if self.finite else []

    def _spell(self, tick: float) -> str:
        if self.log and not self._spelt:
            return f"$10^{{{round(math.log10(tick))}}}$"
        return spell(tick).replace("-", "−")

    def _minor_ticks(self) -> list[float]:
        if self._spelt or not self.finite or self._high - self._low >= 12:
            return []
        within = LogLocator(subs=tuple(range(2, 10)), numticks=99).tick_values(10.0**self._low, 10.0**self._high)
        return [tick for tick in within if 10.0**self._low < tick < 10.0**self._high]

    def _dress_words(self, axes: Axes) -> None:
        axes.set_xlim(-0.5, len(self.words) - 0.5)
        texts = [spell(word).replace("$", r"\$") for word in self.words]
        axes.xaxis.set_minor_locator(NullLocator())
        long = sum(map(len, texts)) > 28
        axes.set_xticks(range(len(texts)), texts, rotation=25 if long else 0, ha="right" if long else "center")


def _draw_break(axes: Axes, middle: float) -> None:
    """Two strokes through the axis, in front of a gap."""
    style: dict[str, Any] = dict(transform=axes.transAxes, clip_on=False, zorder=10, linestyle="none", gid="break")
    axes.plot([middle], [0], marker="s", markersize=5, color="white", **style)
    slash = [(-0.4, -1), (0.4, 1)]
    axes.plot([middle - 0.008, middle + 0.008], [0, 0], marker=slash, markersize=8, color="black", **style)
