"""Powers that measurements follow."""

import math

import numpy as np


def log_slope(rows: list[dict], x: str, y: str) -> float | None:
    """d log y / d log x over the rows in which both are positive and finite, by least squares; None at a single x."""
    logs = [(math.log(row[x]), math.log(row[y])) for row in rows if 0 < row[x] < math.inf and 0 < row[y] < math.inf]
    if len({place for place, _ in logs}) < 2:
        return None
    return float(np.polyfit(*zip(*logs, strict=True), 1)[0])
