"""What is published of several experiments, beside the runs of all of them: a section of its own."""

from .comparison import is_described
from .primitives import Bars, Report
from .sections import Section, safe_name


def comparisons(sections: list[Section]) -> list[Section]:
    """One for every :class:`Bars` that describes runs of several ``sections``, each run of which is in one of them."""
    declared = dict.fromkeys(item for section in sections for item in section.report.items if isinstance(item, Bars))
    return [found for item in declared if (found := _comparison(sections, item))]


def _comparison(sections: list[Section], item: Bars) -> Section | None:
    rows = item.published.rows
    runs = [run for section in sections for run in section.runs if any(is_described(run, row) for row in rows)]
    if len({run.target for run in runs}) < 2:
        return None
    name, title = safe_name(item.published.title), item.published.title
    return Section("", name, runs, [], Report(item, item.published), is_declared=True, heading=title)
