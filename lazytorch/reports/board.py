"""The report in TensorBoard: its figures on the Images page, and what they show over alpha as curves.

TensorBoard's steps are integers: that of alpha is 100 log10 alpha, rounded. Infinity is where the figures have it, a
decade and a half right of the largest decade.
"""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .axis import Axis
from .labels import shorten
from .primitives import Figure, Panel
from .sections import Section
from .traces import LINE, Trace, trace

SUFFIX = ".report"  # of the event files that are the report's own
EARLIER = -(10**6)  # than any step: a TensorBoard that is running forgets a former report's curves
CATEGORY = "over alpha, at step 100 log10 alpha"
WIDTH = 960  # pixels, what a window of 1400 shows of an image at its full size
UNSAFE = re.compile(r"[^A-Za-z0-9.,=+ -]+")


def write_board(found: Sequence[Section], drawn: dict, out: Path) -> None:
    """Write the event files of a report whose figures have been drawn in ``out``, in place of those of a former one.

    They are runs of TensorBoard, of every section: its figures, and for every series of settings its curves.
    """
    folder = out / "tensorboard"
    _forget(folder)
    for section in found:
        _write_section(section, drawn, out, folder / section.name if len(found) > 1 else folder)


def _forget(folder: Path) -> None:
    """Empty what a former report wrote: a TensorBoard that reads a file which is gone would never go on to the next."""
    for file in folder.rglob(f"*{SUFFIX}"):
        if file.stat().st_size:
            file.write_bytes(b"")
        else:
            file.unlink()


def _write_section(section: Section, drawn: dict, out: Path, folder: Path) -> None:
    stems = [stem for (name, _), (stem, _) in drawn.items() if name == section.name and stem]
    with _writer(folder / "figures") as writer:
        for stem in stems:
            _add_figure(writer, out / f"{stem}.png")
    series: dict[str, dict[str, Trace]] = {}
    for line in _lines(section):
        series.setdefault(line.series, {})[line.column] = line
    for index, (name, curves) in enumerate(series.items()):
        own = f"{index} {UNSAFE.sub('-', shorten(name, 100))}" if name else ""
        with _writer(folder / "over_alpha" / own, purge_step=EARLIER) as writer:
            _add_curves(writer, section, curves)


def _writer(folder: Path, **options):
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), filename_suffix=SUFFIX, **options)


def _add_figure(writer, file: Path) -> None:
    with Image.open(file) as picture:
        image = picture.convert("RGB")
        image.thumbnail((WIDTH, image.height))
        writer.add_image(f"overview/{file.stem}", np.asarray(image), 0, dataformats="HWC")


def _lines(section: Section) -> Iterator[Trace]:
    """What the section's figures show of the summaries over alpha; some of it in several figures."""
    for figure in section.report.items:
        for panel in figure.panels if isinstance(figure, Figure) else ():
            if isinstance(panel, Panel) and panel.table == "summary" and panel.x == "alpha":
                traces = trace(section, panel)
                if traces.x == "alpha" and traces.by is None:
                    yield from (line for line in traces.lines if line.role == LINE)


def _add_curves(writer, section: Section, curves: dict[str, Trace]) -> None:
    """The means over seeds, and with them their charts of the Custom Scalars page, on log10 where they span decades."""
    axis = Axis(sorted({alpha for line in curves.values() for alpha in line.xs}), log=True)
    charts = {}
    for column, line in curves.items():
        quantity = section.quantity(column)
        tags = [f"over_alpha/{column}"] + [f"over_alpha_log10/{column}"] * quantity.log
        charts[tags[-1].removeprefix("over_alpha")] = ["Multiline", [f"{tags[-1]}$"]]
        for alpha, mean in zip(line.xs, line.means, strict=True):
            values = [mean] + ([math.log10(mean)] if mean > quantity.floor else [])
            for tag, value in zip(tags, values, strict=False):
                writer.add_scalar(tag, value, round(100 * math.log10(axis.place(alpha))))
    writer.add_custom_scalars({CATEGORY: charts})
