"""A logarithmic axis of alpha whose right end is infinity."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

MAX_TICKS = 9


class AlphaAxis:
    """Puts `alphas` on a logarithmic axis, infinity a decade and a half right of the largest decade, after a break."""

    def __init__(self, alphas: Sequence[float]):
        finite = [alpha for alpha in alphas if math.isfinite(alpha)]
        self.infinite = len(finite) < len(alphas)
        self.first = math.floor(math.log10(min(finite))) if finite else 0
        self.last = math.ceil(math.log10(max(finite))) if finite else 0
        self.empty = not finite

    def position(self, alpha: float) -> float:
        """Where `alpha` is on the axis, itself if finite."""
        return alpha if math.isfinite(alpha) else 10.0 ** (self.last + 1.5)

    def dress(self, axes: Axes) -> None:
        """Scale, limits, ticks, label and break of the x axis of `axes`."""
        axes.set_xscale("log")
        right = self.last + (2.0 if self.infinite else 0.5)
        axes.set_xlim(10.0 ** (self.first - 0.5), 10.0**right)
        step = max(1, math.ceil((self.last - self.first) / MAX_TICKS))
        decades = [] if self.empty else list(range(self.first, self.last + 1, step))
        ticks = [10.0**k for k in decades] + [self.position(math.inf)] * self.infinite
        labels = [f"$10^{{{k}}}$" for k in decades] + ["$\\infty$"] * self.infinite
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.set_xticks(ticks, labels)
        self._minor_ticks(axes)
        axes.set_xlabel(r"scale $\alpha$")
        if self.infinite and not self.empty:
            self._draw_break(axes, right)

    def _minor_ticks(self, axes: Axes) -> None:
        within = LogLocator(subs=tuple(range(2, 10)), numticks=99).tick_values(10.0**self.first, 10.0**self.last)
        minor = [tick for tick in within if 10.0**self.first < tick < 10.0**self.last]
        axes.xaxis.set_minor_locator(FixedLocator(minor) if self.last - self.first < 12 else NullLocator())

    def _draw_break(self, axes: Axes, right: float) -> None:
        left = self.first - 0.5
        middle = (self.last + 0.75 - left) / (right - left)
        style = dict(transform=axes.transAxes, clip_on=False, zorder=10, linestyle="none")
        axes.plot([middle], [0], marker="s", markersize=5, color="white", **style)
        slash = [(-0.4, -1), (0.4, 1)]
        axes.plot([middle - 0.008, middle + 0.008], [0, 0], marker=slash, markersize=8, color="black", **style)
