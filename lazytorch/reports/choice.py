"""The runs at the best value of one field, such as the learning rate, chosen by a result that is not reported."""

from dataclasses import replace

from .labels import words
from .primitives import Chosen, Report
from .reading import Run
from .sections import Section, safe_name, series_of
from .tables import statistics
from .values import key_of, last_part, number


def with_choices(sections: list[Section]) -> list[Section]:
    """``sections``, each followed by those of the choices that its report declares."""
    return [found for section in sections for found in (section, *_choices(section))]


def choose(section: Section, item: Chosen) -> list[Run]:
    """The runs that ``item`` keeps, with the chosen value among their results instead of what tells them apart."""
    over = section.resolve(item.over)
    if over is None or over not in section.varying:
        return []
    others = [key for key in section.varying if key != over]
    candidates: dict[tuple, dict[object, list[Run]]] = {}
    for run in section.runs:
        candidates.setdefault(series_of(run, others), {}).setdefault(key_of(run.fields.get(over)), []).append(run)
    chosen = []
    for values in candidates.values():
        scores = {value: score for value, runs in values.items() if (score := _score(runs, item.by)) is not None}
        if scores:
            chosen += [_without(run, over) for run in values[max(scores, key=scores.__getitem__)]]
    return chosen


def _choices(section: Section) -> list[Section]:
    found = []
    for item in section.report.items:
        if isinstance(item, Chosen) and (runs := choose(section, item)):
            over = last_part(item.over)
            heading = f"{section.title}: best {words(section.quantity(over).short)} by {item.by.replace('_', ' ')}"
            name, report = safe_name(f"{section.name}-best-{over}"), Report(*item.items)
            found.append(replace(section, name=name, heading=heading, runs=runs, repeated=[], report=report))
    return found


def _score(runs: list[Run], by: str) -> float | None:
    """The mean over seeds, None unless every run has finished and has it."""
    values = [number(run.results.get(by)) if run.status == "finished" else None for run in runs]
    return statistics([value for value in values if value is not None])[0] if None not in values else None


def _without(run: Run, over: str) -> Run:
    changed = {key: value for key, value in run.changed.items() if key != over}
    fields = {key: value for key, value in run.fields.items() if key != over}
    return replace(run, changed=changed, fields=fields, summary=run.summary | {last_part(over): run.fields[over]})
