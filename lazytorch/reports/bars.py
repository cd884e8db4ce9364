"""Published numbers and ours as bars."""

from matplotlib.figure import Figure as Canvas

from ..quantities import BLUE, GREY
from .comparison import described
from .labels import distinct
from .primitives import Bars
from .sections import Section
from .style import house_style, mathematics, plain
from .tables import series_label, statistics

HEIGHT = 0.36  # of a bar; rows are 1 apart


def draw_bars(section: Section, item: Bars) -> tuple[Canvas | None, list[str]]:
    """Draw ``item``, None if no finished run has its value, and say why."""
    rows = [row for row in item.published.rows if row.values.get(item.value) is not None]
    ours = {row.label: [g for g in described(section, row) if g.results(item.value)] for row in rows}
    if not any(ours.values()):
        return None, [f"No {item.value.replace('_', ' ')}: none of the runs has it."]
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
            for group in ours[row.label]:
                place += HEIGHT
                mean, deviation = statistics(group.results(item.value))
                deviation = deviation if len(group.results(item.value)) > 1 else 0
                several = series_label(section, group) if len(ours[row.label]) > 1 else ""
                label = f"ours{f', n = {len(group.finished)}'}{f', {several}' if several else ''}"
                _bar(axes, place, scale * mean, scale * deviation, BLUE, label, quantity)
            ticks.append((top + place) / 2)
            place += 2 * HEIGHT
        labels = distinct([row.label for row in rows], 44)
        axes.set_yticks(ticks, [plain(labels[row.label]) for row in rows])
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(mathematics(quantity.title))
    return canvas, []


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
