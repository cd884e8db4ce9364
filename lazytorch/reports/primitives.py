"""What a report shows, declared: figures, tables, claims and published numbers.

Every primitive is plain data in another form (:class:`.item.Item`): a run writes its report into report.json, and
whoever draws it needs neither the experiment's class nor matplotlib to read it.

A ``table`` is "summary" (one row a run: what the run measured), "metrics" (one row an evaluation) or the name of a csv
of the run directory. Rows have besides the fields of their run, by dotted name (``optimizer.lr``) or its last part.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .item import Item, check_items, check_text, check_where, mapping, read_item, set_names, short

Names = tuple[str, ...] | Any  # one name or several when they are given, kept as a tuple
SCALES = (None, "linear", "log")


@dataclass(frozen=True)
class Panel(Item):
    """Quantities against another one: one line a quantity, a series of settings and a value of ``by``.

    Runs that differ by seed alone are one line: their mean, with their spread. An infinite x stands right of a break.

    Args:
        table: where the rows are.
        x: the column on the x axis.
        y: the columns that are drawn, a name or several.
        by: a column whose values are separate lines.
        guides: slopes s of grey lines y ~ x^s.
        bounds: columns drawn as bounds, dashed and without marks.
        where: rows are kept where these columns have these values.
        marks: columns drawn as points without a line, over the lines; the i-th has the colour of the i-th of ``y``.
        title: over the panel.
        ylabel: of the y axis; the quantities' own if empty.
        xscale, yscale: "linear" or "log"; None for the quantities' own.
        trajectory: points are joined in the order of the rows, run by run, not in the order of x.
    """

    table: str
    x: str
    y: Names
    by: str | None = None
    guides: tuple[float, ...] = ()
    bounds: tuple[str, ...] = ()
    where: Mapping = mapping()
    marks: Names = ()
    title: str = ""
    ylabel: str = ""
    xscale: str | None = None
    yscale: str | None = None
    trajectory: bool = False

    def __post_init__(self):
        check_text(self, "table", "x", "title", "ylabel")
        for name in ("y", "bounds", "marks"):
            set_names(self, name)
        guides = self.guides if isinstance(self.guides, tuple | list) else (self.guides,)
        if not all(isinstance(slope, int | float) and math.isfinite(slope) for slope in guides):
            raise ValueError(f"Panel(guides={self.guides!r}): give slopes, as guides=(-1, -2)")
        object.__setattr__(self, "guides", tuple(guides))
        if not self.y:
            raise ValueError("Panel(y=()): name at least one column")
        if not (self.by is None or isinstance(self.by, str)):
            raise TypeError(f"Panel(by={self.by!r}): give the name of a column")
        if self.xscale not in SCALES or self.yscale not in SCALES:
            raise ValueError(f"Panel has the scales {self.xscale!r}, {self.yscale!r}: use 'linear', 'log' or None")
        check_where(self)


@dataclass(frozen=True)
class HeatMap(Item):
    """``value`` by colour over the grid of ``x`` and ``y``, mean over seeds; cells that diverged are hatched.

    A line is drawn between neighbours that differ in ``contour``, a column of truth values, if it is given; over seeds
    a cell has the value that most have. A grid on which x or y does not vary is left out.
    """

    table: str
    x: str
    y: str
    value: str
    where: Mapping = mapping()
    title: str = ""
    contour: str = ""

    def __post_init__(self):
        check_text(self, "table", "x", "y", "value", "title", "contour")
        check_where(self)


@dataclass(frozen=True)
class Plane(Item):
    """Paths in the plane of ``x`` and ``y``, of equal units: from a hollow dot to a full one, in the order of the rows.

    Of one run, the first that has any.

    Args:
        table: where the rows are.
        x, y: the columns of the coordinates.
        by: a column whose values are separate paths.
        each: a column whose values are separate panels, with a scale of their own.
        sign: a column of 1 and -1, by which paths are coloured.
        rays: a table with the columns ``x``, ``y`` and ``sign``, whose points are drawn as rays from the origin; with
            the unit circle.
    """

    table: str
    x: str
    y: str
    by: str
    each: str
    sign: str
    rays: str

    def __post_init__(self):
        check_text(self, "table", "x", "y", "by", "each", "sign", "rays")


@dataclass(frozen=True, init=False)
class Figure(Item):
    """Panels side by side, in the files ``name``.png and ``name``.pdf; what nothing was measured for is left out."""

    name: str
    panels: tuple[Panel | HeatMap | Plane, ...]
    caption: str = ""

    def __init__(self, name: str, *panels: Panel | HeatMap | Plane, caption: str = ""):
        for key, value in (("name", name), ("panels", panels), ("caption", caption)):
            object.__setattr__(self, key, value)
        check_text(self, "name", "caption")
        if not name:
            raise ValueError("Figure('') has no name: give one, of which its files are named")
        check_items(self, panels, Panel | HeatMap | Plane)

    @classmethod
    def _from_values(cls, values: dict) -> "Figure":
        values = dict(values)
        return cls(values.pop("name", ""), *values.pop("panels", ()), **values)


@dataclass(frozen=True)
class Table(Item):
    """Rows of ``table``: mean and standard deviation, with n, where runs differ by seed alone.

    ``columns`` are those shown, all of them if empty.
    """

    table: str = "summary"
    columns: tuple[str, ...] = ()
    title: str = ""

    def __post_init__(self):
        check_text(self, "table", "title")
        set_names(self, "columns")


@dataclass(frozen=True)
class Claim(Item):
    """What is claimed, and ``check``: summary -> True, False, or None where the hypotheses are not met.

    The run evaluates the check and keeps the outcome in its summary; reports count those. Without a check the claim is
    only stated.
    """

    text: str
    check: Callable[[Mapping], bool | None] | None = field(default=None, compare=False, metadata={"plain": False})
    source: str = ""

    def __post_init__(self):
        check_text(self, "text", "source")
        if self.check is not None and not callable(self.check):
            raise TypeError(f"Claim(check={self.check!r}): give a function of the summary")


@dataclass(frozen=True)
class PublishedRow(Item):
    """A row of published numbers.

    Args:
        label: what the source calls it.
        values: quantity -> number, in the quantity's own unit (accuracies in [0, 1]).
        where: the fields, by dotted name, that the runs to set beside it have.
        protocol: fields of this row, besides the table's, without which runs are not comparable.
    """

    label: str
    values: Mapping = mapping()
    where: Mapping = mapping()
    protocol: Mapping = mapping()

    def __post_init__(self):
        check_text(self, "label")
        for name in ("values", "where", "protocol"):
            check_where(self, name)
        for key, value in self.values.items():
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise TypeError(f"PublishedRow {self.label!r} has {key}={value!r}: give a number, or None")


@dataclass(frozen=True)
class Published(Item):
    """Published numbers, beside ours: mean, spread, n and difference of the runs that each row describes.

    Args:
        title: such as "Figure 3(b)".
        source: who published them, and where.
        rows: the numbers.
        protocol: the fields, by dotted name, without which a run is not comparable; the report names those that differ.
        text: what the source found, in words.
    """

    title: str
    source: str
    rows: tuple[PublishedRow, ...] = ()
    protocol: Mapping = mapping()
    text: str = ""

    def __post_init__(self):
        check_text(self, "title", "source", "text")
        object.__setattr__(self, "rows", tuple(self.rows))
        check_items(self, self.rows, PublishedRow)
        check_where(self, "protocol")


@dataclass(frozen=True)
class Bars(Item):
    """``value`` of every published row, and beside it that of the runs it describes; the files ``name``.png and .pdf.

    Where the rows describe runs of several experiments, a report on runs of more than one of them draws it over all.
    """

    name: str
    value: str
    published: Published
    caption: str = ""

    def __post_init__(self):
        check_text(self, "name", "value", "caption")
        check_items(self, (self.published,), Published)

    @classmethod
    def _from_values(cls, values: dict) -> "Bars":
        own: dict[str, Any] = values | {"published": read_item(values.get("published"))}
        return cls(**own)


@dataclass(frozen=True, init=False)
class Chosen(Item):
    """Items on the runs at the best value of one field: a section of its own.

    Of runs that agree in all but the field ``over`` and the seed, those are kept whose value of it has the largest mean
    of the result ``by``; values at which a run did not finish are not chosen. Choose by what is not reported, as
    ``validation_accuracy``. Left out where the field does not vary, or nothing was measured to choose by.
    """

    over: str
    by: str
    items: tuple[Item, ...]

    def __init__(self, over: str, by: str, *items: Item):
        for key, value in (("over", over), ("by", by), ("items", items)):
            object.__setattr__(self, key, value)
        check_text(self, "over", "by")
        check_items(self, items, Figure | Table)

    @classmethod
    def _from_values(cls, values: dict) -> "Chosen":
        return cls(values.get("over", ""), values.get("by", ""), *values.get("items", ()))


@dataclass(frozen=True, init=False)
class Report(Item):
    """What the report of an experiment shows, in this order."""

    items: tuple[Item, ...]
    title: str = ""

    def __init__(self, *items: Item, title: str = ""):
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "title", title)
        check_text(self, "title")
        check_items(self, items, Figure | Table | Claim | Published | Chosen | Bars)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims, which the run is to check."""
        return tuple(item for item in self.items if isinstance(item, Claim))

    @classmethod
    def from_dict(cls, document: object) -> "Report":
        """The report that ``to_dict`` described, whatever else the mapping holds.

        Raises:
            ValueError: it describes none.
        """
        if not isinstance(document, Mapping):
            raise ValueError(f"a report is a mapping, not {short(document)}")
        title, items = document.get("title") or "", document.get("items") or ()
        if not isinstance(items, list | tuple):
            raise ValueError(f"the items of a report are a list, not {short(items)}")
        try:
            return cls(*map(read_item, items), title=title)
        except TypeError as error:
            raise ValueError(str(error)) from None

    @classmethod
    def _from_values(cls, values: dict) -> "Report":
        return cls.from_dict(values)
