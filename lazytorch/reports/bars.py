"""Published numbers and ours as bars."""

import textwrap

from matplotlib.figure import Figure as Canvas

from ..quantities import BLUE, GREY
from .comparison import described
from .labels import labels
from .primitives import Bars
from .sections import Group, Section
from .style import house_style, mathematics, plain
from .tables import statistics
from .values import key_of

HEIGHT = 0.36  # of a bar; rows are 1 apart
WRAPPED = 30  # letters of a line of a label


def draw_bars(section: Section, item: Bars) -> tuple[Canvas | None, list[str]]:
    """Draw ``item``, None if no finished run has its value, and say why."""
    rows = [row for row in item.published.rows if row.values.get(item.value) is not None]
    ours = {row.label: [g for g in described(section, row) if g.results(item.value)] for row in rows}
    if not any(ours.values()):
        return None, ["None of these runs, finished, is one that the published rows describe."]
    quantity = section.quantity(item.value)
    scale = 100 if quantity.percent else 1
    with house_style():
        canvas = Canvas(
            figsize=(7.2, 0.6 + 0.22 * sum(2 + len(found) for found in ours.values())), layout="constrained"
        )
        axes = canvas.subplots()
        ticks, place = [], 0.0
        for row in rows:
            top = place
            _bar(axes, place, scale * row.values[item.value], 0, GREY, "published", quantity)
            names = _names(section, ours[row.label])
            for group in ours[row.label]:
                place += HEIGHT
                mean, deviation = statistics(group.results(item.value))
                deviation = deviation if len(group.results(item.value)) > 1 else 0
                label = ", ".join(filter(None, [f"ours, n = {len(group.finished)}", names[group]]))
                _bar(axes, place, scale * mean, scale * deviation, BLUE, label, quantity)
            ticks.append((top + place) / 2)
            place += 2 * HEIGHT
        axes.set_yticks(ticks, ["\n".join(textwrap.wrap(plain(row.label), WRAPPED)) for row in rows])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(mathematics(quantity.title))
    return canvas, []


def _names(section: Section, groups: list[Group]) -> dict[Group, str]:
    """What tells the groups of one row apart."""
    found = [section.settings(group.runs[0]) for group in groups]
    keys = [key for key in section.varying if len({key_of(own[key]) for own in found}) > 1]
    return dict(zip(groups, labels([{key: own[key] for key in keys} for own in found]), strict=True))


def _bar(axes, place: float, value: float, deviation: float, color: str, label: str, quantity) -> None:
    axes.barh(place, value, HEIGHT, xerr=deviation or None, color=color, error_kw={"linewidth": 1, "capsize": 2})
    spelt = quantity.spell(value / 100 if quantity.percent else value)
    axes.annotate(
        f"{spelt}  {plain(label)}",
        (value + deviation, place),
        (3, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
    )
