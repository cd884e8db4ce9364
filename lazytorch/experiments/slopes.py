"""Powers that the measurements of a table follow."""

import math

from ..theory import slopes


def log_slope(rows: list[dict], x: str, y: str) -> float | None:
    """d log y / d log x over the rows in which both are positive and finite, by least squares; None at a single x."""
    pairs = [(row[x], row[y]) for row in rows if row[y] is not None and 0 < row[x] < math.inf and 0 < row[y] < math.inf]
    slope = slopes.log_slope(*zip(*pairs, strict=True)) if pairs else math.nan
    return None if math.isnan(slope) else slope
