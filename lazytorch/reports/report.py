"""A report of runs: report.md, table.csv and the figures."""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from lazytorch.reports import paper
from lazytorch.reports.accuracy import accuracy_figure
from lazytorch.reports.curves import MAX_ROWS, curves_figure
from lazytorch.reports.drift import drift_figure
from lazytorch.reports.incomplete import incomplete
from lazytorch.reports.style import save
from lazytorch.reports.sweep import Sweep, read_sweep
from lazytorch.reports.tables import markdown_results, markdown_table, write_csv

CAPTIONS = {
    "accuracy": "Final accuracy on the whole train and test sets, in evaluation mode and without augmentation, and the "
    "share of ReLU units active for the same test inputs as at initialisation.",
    "drift": "Relative displacement of the weights and change of the tangent kernel on the probe inputs.",
    "curves": "Training: one line a run, dashed if it did not finish.",
}


def write_report(paths: Iterable[str | PathLike], out: str | PathLike) -> Path:
    """Write report.md, table.csv and the figures accuracy, drift and curves (png, pdf) on the runs at or below `paths`.

    Returns:
        `out`, the folder they are in.

    Raises:
        FileNotFoundError: one of `paths` does not exist.
        ValueError: there is no run.
    """
    sweep = read_sweep(paths)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in (("accuracy", accuracy_figure), ("drift", drift_figure), ("curves", curves_figure)):
        save(draw(sweep), out / name)
    write_csv(sweep, out / "table.csv")
    (out / "report.md").write_text(_markdown(sweep), encoding="utf-8")
    return out


def _markdown(sweep: Sweep) -> str:
    sections = [
        "# Runs of lazytorch",
        _header(sweep),
        _series(sweep),
        "## Results",
        markdown_results(sweep),
        _figures(sweep),
    ]
    sections += ["## Missing or incomplete", "\n".join(f"- {line}" for line in incomplete(sweep)) or "Nothing."]
    sections += ["## Published (Figure 3(b))", _published(sweep)]
    return "\n\n".join(section for section in sections if section) + "\n"


def _header(sweep: Sweep) -> str:
    seeds = len({member.seed for member in sweep.members})
    return (
        f"Data: {_values(sweep, 'data', 'name')} ({_size(sweep, 'train')} train, {_size(sweep, 'test')} test images). "
        f"Model: {_values(sweep, 'model', '_target_')}. Device: {_values(sweep, 'versions', 'device')}. "
        f"Precision: {_values(sweep, 'precision')}. torch {_values(sweep, 'versions', 'torch')}, "
        f"lazytorch {_values(sweep, 'versions', 'lazytorch')} ({_values(sweep, 'versions', 'git')}). "
        f"Runs: {len(sweep.members)}, seeds: n = {seeds}."
    )


def _values(sweep: Sweep, *keys: str) -> str:
    """What the runs' configurations have at `keys`, each value once."""
    found = {}
    for member in sweep.members:
        value = member.config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        found["not recorded" if value is None else str(value)] = None
    return ", ".join(found)


def _size(sweep: Sweep, part: str) -> str:
    """The number of images the fingerprint counted, else the number asked for, which is null for the whole set."""
    counted = _values(sweep, "data_fingerprint", f"{part}_size")
    asked = _values(sweep, "data", f"{part}_size")
    return (asked if counted == "not recorded" else counted).replace("not recorded", "all")


def _series(sweep: Sweep) -> str:
    if len(sweep.series) == 1:
        return ""
    rows = [[series.label] + [str(series.settings.get(key, "–")) for key in sweep.varying] for series in sweep.series]
    return "## Series\n\n" + markdown_table(["series", *sweep.varying], rows)


def _figures(sweep: Sweep) -> str:
    captions = dict(CAPTIONS)
    if len(sweep.series) > MAX_ROWS:
        captions["curves"] += f" The first {MAX_ROWS} of {len(sweep.series)} series are shown."
    return "\n\n".join(f"![{name}]({name}.png)\n\n*{caption}*" for name, caption in captions.items())


def _published(sweep: Sweep) -> str:
    rows = [
        [row.model, "–" if row.train is None else str(row.train), str(row.test)] for row in paper.FIGURE_3B_ACCURACIES
    ]
    data = _values(sweep, "data", "name")
    reading = (
        "comparable where the protocol is the same" if data == "cifar10" else f"not comparable with runs on {data}"
    )
    paragraphs = [
        f"Accuracies on CIFAR-10; {reading}. Source: {paper.SOURCE}.",
        *(f"{one.figure} ({one.model}; {one.loss}): {one.finding}." for one in (paper.FIGURE_3A, paper.FIGURE_3B)),
        markdown_table(["model", "train acc. (%)", "test acc. (%)"], rows),
    ]
    return "\n\n".join(paragraphs)
