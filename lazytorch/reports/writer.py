"""A report of runs: report.md, report.html, table.csv and every figure, made from run directories alone."""

import json
import logging
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

from ..runs import RunDirectory, write_atomically
from .across import comparisons
from .choice import with_choices
from .content import contents
from .document import to_html, to_markdown
from .primitives import Bars, Figure
from .reading import read_runs
from .sections import Section, sections
from .tables import write_csv

WRITTEN = ".report.json"  # in the report's folder: the files that are its own

logger = logging.getLogger("lazytorch.reports")


def write_report(paths: Iterable[str | PathLike], out: str | PathLike, tensorboard: bool = False) -> Path:
    """Write report.md, report.html, table.csv and the figures (png, pdf) of the runs at or below ``paths``.

    A section for every experiment, in which runs that differ by seed alone are one point. What cannot be read is listed
    as left out. Files of a former report in ``out`` that this one does not have are removed. With ``tensorboard``,
    ``out``/tensorboard has the figures and the curves over alpha as event files.

    Returns:
        ``out``, the folder they are in; it is made if it is missing.

    Raises:
        ValueError: there is no run that can be read, or ``out`` is a run directory itself.
    """
    paths = [paths] if isinstance(paths, str | PathLike) else list(paths)
    out = Path(out)
    if RunDirectory(out).exists:
        raise ValueError(f"{out} is a run directory; give another folder for the report")
    runs, left_out = read_runs(paths)
    for path, reason in left_out:
        logger.warning("left out: %s", reason if path in reason else f"{path}: {reason}")
    if not runs:
        where = ", ".join(map(str, paths))
        raise ValueError(f"no run directory can be read at or below {where}; run an experiment, or give its runs_dir")
    own = sections(runs)
    found = with_choices(own) + comparisons(own)
    out.mkdir(parents=True, exist_ok=True)
    drawn, written = _draw(found, out)
    blocks = contents(found, drawn, left_out)
    texts = {
        "report.md": to_markdown(blocks),
        "report.html": to_html("Runs of lazytorch", blocks, out),
        "table.csv": write_csv(own),
    }
    for name, text in texts.items():
        _write(out / name, text)
    _forget(out, [*written, *texts])
    if tensorboard:
        from .board import write_board

        write_board(found, drawn, out)
    words = ", ".join(f"{len(section.runs)} of {section.name}" for section in own)
    logger.info("%d runs (%s), %d figures, %d left out", len(runs), words, len(written) // 2, len(left_out))
    return out


def _draw(found: Sequence[Section], out: Path) -> tuple[dict, list[str]]:
    """Draw every figure; (section, figure) -> the stem of its files, None if there is none, and its notes."""
    from .bars import draw_bars  # matplotlib comes when something is drawn
    from .figures import draw
    from .style import save

    drawn, written = {}, []
    for section in found:
        for figure in section.report.items:
            if isinstance(figure, Figure | Bars):
                stem = f"{section.name}-{figure.name}" if len(found) > 1 else figure.name
                canvas, notes = draw(section, figure) if isinstance(figure, Figure) else draw_bars(section, figure)
                drawn[section.name, figure.name] = (stem if canvas else None, notes)
                written += [path.name for path in save(canvas, out / stem)] if canvas else []
    return drawn, written


def _forget(out: Path, written: list[str]) -> None:
    """Remove the files of a former report that this one has not written, and keep the list of its own."""
    try:
        former = json.loads((out / WRITTEN).read_bytes())
    except (OSError, ValueError):
        former = []
    for name in former if isinstance(former, list) else []:
        is_ours = isinstance(name, str) and Path(name).name == name and name.endswith((".png", ".pdf"))
        if is_ours and name not in written:
            (out / name).unlink(missing_ok=True)
    _write(out / WRITTEN, json.dumps(sorted(written), indent=1) + "\n")


def _write(path: Path, text: str) -> None:
    data = text.encode("utf-8", "replace")
    write_atomically(path, lambda file: file.write(data))
