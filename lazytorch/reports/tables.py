"""The table of results: one row for every cell of a sweep, in Markdown and in CSV."""

import csv
import math
from collections import Counter
from pathlib import Path

import numpy as np

from lazytorch.reports.sweep import Cell, Sweep

MEASURES = (
    "train_accuracy",
    "test_accuracy",
    "train_loss",
    "test_loss",
    "activation_stability",
    "displacement",
    "ntk_drift",
    "kernel_distance",
    "linearization_error",
    "epochs",
    "seconds",
)


def write_csv(sweep: Sweep, path: Path) -> None:
    """Mean, sample standard deviation and number of finished runs a cell; numbers in full, empty where not measured."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        statistics = [f"{key}_{kind}" for key in MEASURES for kind in ("mean", "std")]
        writer.writerow([*sweep.varying, "alpha", "seeds", "n", "status", *statistics])
        for series in sweep.series:
            own = [series.settings.get(key, "") for key in sweep.varying]
            for cell in series.cells:
                numbers = [number for key in MEASURES for number in _statistics(cell, key)]
                seeds = " ".join(str(member.seed) for member in cell.members)
                writer.writerow([*own, cell.alpha, seeds, len(cell.finished), status(cell), *map(_exact, numbers)])


def markdown_results(sweep: Sweep) -> str:
    """The results for reading: percents for accuracies and stability, three digits for the rest."""
    head = ["alpha", "n", "status", "train acc. (%)", "test acc. (%)", "stability (%)", "displacement", "kernel drift"]
    head += ["kernel distance", "linearization error", "epochs", "seconds"]
    several = len(sweep.series) > 1
    rows = [
        ([series.label] if several else []) + _markdown_cells(cell) for series in sweep.series for cell in series.cells
    ]
    return markdown_table((["series"] if several else []) + head, rows)


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; bars within a text are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


def spell_alpha(alpha: float) -> str:
    """alpha in few characters: 1, 0.5, 1e7, ∞."""
    if math.isinf(alpha):
        return "∞"
    if 1e-2 <= alpha < 1e3:
        return f"{alpha:g}"
    mantissa, exponent = f"{alpha:.6e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def status(cell: Cell) -> str:
    """The common status of a cell's runs, or how many have which."""
    counts = Counter(member.status for member in cell.members)
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))


def _markdown_cells(cell: Cell) -> list[str]:
    percents = [_spread(cell, key, 100, ".1f") for key in ("train_accuracy", "test_accuracy", "activation_stability")]
    others = [
        _spread(cell, key, 1, ".2e") for key in ("displacement", "ntk_drift", "kernel_distance", "linearization_error")
    ]
    costs = [_spread(cell, key, 1, ".4g") for key in ("epochs", "seconds")]
    return [spell_alpha(cell.alpha), str(len(cell.finished)), status(cell), *percents, *others, *costs]


def _spread(cell: Cell, key: str, scale: float, form: str) -> str:
    mean, deviation = (scale * number for number in _statistics(cell, key))
    if math.isnan(mean):
        return "–"
    if mean == 0 and form.endswith("e"):
        return "0"
    return f"{mean:{form}}" + ("" if math.isnan(deviation) or deviation == 0 else f" ± {deviation:{form}}")


def _statistics(cell: Cell, key: str) -> tuple[float, float]:
    """Mean and sample standard deviation over the finished runs; nan where there are too few."""
    values = cell.results(key)
    mean = float(values.mean()) if len(values) else math.nan
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _exact(number: float) -> str:
    return "" if math.isnan(number) else repr(number)
