"""The blocks of a report, from its sections and what was drawn of them."""

from collections import Counter
from collections.abc import Sequence

from ..verdict import NOT_CHECKED, OUTCOMES, outcome
from .comparison import differences, published
from .document import Block, Bullets, Heading, Picture, Text
from .header import header
from .labels import spell_setting
from .missing import missing, run_name
from .primitives import Bars, Claim, Figure, Published, Table
from .sections import Group, Section
from .tables import Rows, series_label, table


def contents(sections: Sequence[Section], drawn: dict, left_out: Sequence[tuple[str, str]]) -> list[Block]:
    """All blocks; ``drawn`` maps a section's name and a figure's to the stem of its files and the notes on it."""
    blocks: list[Block] = [Heading(1, "Runs of lazytorch")]
    for section in sections:
        blocks += _section(section, drawn)
    if left_out:
        blocks += [Heading(2, "Left out"), Bullets([f"{path}: {reason}" for path, reason in left_out])]
    return blocks


def _section(section: Section, drawn: dict) -> list[Block]:
    items = section.report.items
    blocks: list[Block] = [Heading(2, section.title)]
    blocks += [Text(section.text)] * bool(section.text)
    blocks += [Text(". ".join(filter(None, [section.target, header(section)])))]
    if not section.is_declared:
        blocks.append(Text("These runs do not say what their report shows: it is that of training runs."))
    blocks += _series(section) + _verdicts(section)
    tables = [item for item in items if isinstance(item, Table)]
    results = [item for item in tables if item.table == "summary"] or [Table("summary", title="Results")]
    for item in results + [item for item in tables if item.table != "summary"]:
        blocks += _table(section, item)
    for item in items:
        if isinstance(item, Figure | Bars):
            blocks += _figure(section, item, drawn)
    blocks += _claims(section)
    blocks += [Heading(3, "Missing or incomplete"), Bullets(missing(section) or ["Nothing."])]
    for item in items:
        if isinstance(item, Published):
            blocks += _published(section, item)
    return blocks


def _series(section: Section) -> list[Block]:
    """What the series' names stand for, in full."""
    keys = [key for key in section.varying if key != "alpha"]
    groups = {series_label(section, group): group for group in section.groups}
    if len(groups) < 2:
        return []
    rows = [[name, *(spell_setting(key, group.settings.get(key)) for key in keys)] for name, group in groups.items()]
    return [Heading(3, "Series"), Rows(["series", *keys], rows)]


def _verdicts(section: Section) -> list[Block]:
    rows = []
    for group in section.groups:
        seeds: dict[str, list[str]] = {}
        for run in group.runs:
            if run.summary.get("verdict"):
                seeds.setdefault(run.summary["verdict"], []).append(spell_setting("seed", run.seed))
        rows += [[run_name(section, group), ", ".join(own), verdict] for verdict, own in seeds.items()]
    return [Heading(3, "Verdicts"), Rows(["runs", "seeds", "verdict"], rows)] if rows else []


def _table(section: Section, item: Table) -> list[Block]:
    title = item.title or ("Results" if item.table == "summary" else item.table.replace("_", " ").capitalize())
    rows = table(section, item)
    return [Heading(3, title), rows or Text("No run has any of it yet.")]


def _figure(section: Section, figure: Figure | Bars, drawn: dict) -> list[Block]:
    stem, notes = drawn[section.name, figure.name]
    if stem is None:
        return [Text(f"Figure {figure.name} is left out. {' '.join(notes)}")]
    return [Picture(stem, " ".join(filter(None, [figure.caption, *notes])))]


def _claims(section: Section) -> list[Block]:
    """Every claim and how often it held, by group of settings; a claim that no run checked is only stated."""
    declared = {item.text: item.source for item in section.report.items if isinstance(item, Claim)}
    outcomes: dict[str, list[tuple[Group, Counter]]] = {text: [] for text in declared}
    for group in section.groups:
        counts: dict[str, Counter] = {}
        for run in group.finished:
            for claim in run.summary.get("claims") or []:
                declared.setdefault(claim["text"], str(claim.get("source") or ""))
                counts.setdefault(claim["text"], Counter())[outcome(claim)] += 1
        for text, counted in counts.items():
            outcomes.setdefault(text, []).append((group, counted))
    rows = [row for text, found in outcomes.items() for row in _outcomes(section, text, declared[text], found)]
    return [Heading(3, "Claims"), Rows(["claim", "source", "runs", "outcome"], rows)] if rows else []


def _outcomes(section: Section, text: str, source: str, found: list) -> list[list[str]]:
    if not found:
        return [[text, source, "–", "not checked by any finished run"]]
    return [[text, source, run_name(section, group), _counted(counts)] for group, counts in found]


def _counted(counts: Counter) -> str:
    total = sum(counts.values())
    return ", ".join(
        f"{words} in {counts[words]} of {total}" for words in (*OUTCOMES.values(), NOT_CHECKED) if counts[words]
    )


def _published(section: Section, item: Published) -> list[Block]:
    blocks: list[Block] = [Heading(3, f"Published: {item.title}")]
    blocks.append(Text(f"Source: {item.source}." + (f" {item.text}" if item.text else "")))
    rows = published(section, item)
    if rows is None:
        differing = differences(section, item)
        blocks.append(
            Text(f"Not comparable: {', '.join(differing)}." if differing else "The protocol is that of ours.")
        )
    return blocks + ([rows] if rows else [])
