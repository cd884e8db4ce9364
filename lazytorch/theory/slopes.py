"""Exponents of power laws, with the uncertainty that repeated trials tell of."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Slope(NamedTuple):
    """An exponent: the mean over trials, and the 95 % interval ``low`` to ``high`` of Student's t over them."""

    slope: float
    low: float
    high: float

    def is_within(self, tolerance: float, of: float) -> bool:
        """Whether the whole interval is within ``tolerance`` of the exponent ``of``."""
        return of - tolerance <= self.low and self.high <= of + tolerance


def log_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """d log y / d log x by least squares; nan where there are not two points, or a y is not positive and finite."""
    if len(set(x)) < 2 or not all(0 < value < math.inf for value in y):
        return math.nan
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def mean_slope(slopes: Sequence[float]) -> Slope:
    """The mean of the ``slopes`` of independent trials; of a single one there is no interval, which is infinite."""
    mean = float(np.mean(slopes))
    if len(slopes) < 2:
        return Slope(mean, -math.inf, math.inf)
    half = float(stats.t.ppf(0.975, len(slopes) - 1) * np.std(slopes, ddof=1) / math.sqrt(len(slopes)))
    return Slope(mean, mean - half, mean + half)
