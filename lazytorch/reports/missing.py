"""What a section lacks: runs that did not finish, seeds that some settings have and others have not."""

from collections.abc import Iterator

from .reading import Run
from .sections import Group, Section
from .tables import has_alpha, series_label
from .values import key_of, order_of, spell


def missing(section: Section) -> list[str]:
    """One line for everything missing, not measured, or left out because it repeats another."""
    lines = [line for group in section.groups for line in _of_group(section, group)]
    lines += _not_measured(section)
    return lines + [f"{path}: the same run as another directory holds; counted once" for path in section.repeated]


def run_name(section: Section, group: Group, run: Run | None = None) -> str:
    """What a group, or a run of it, is called: its series, alpha and seed."""
    alpha = f"alpha = {spell(group.settings.get('alpha'))}" if has_alpha(section) else ""
    seed = f"seed {spell(run.seed)}" if run is not None and run.seed is not None else ""
    return ", ".join(part for part in (series_label(section, group), alpha, seed) if part) or "the run"


def _of_group(section: Section, group: Group) -> Iterator[str]:
    for run in group.runs:
        if run.status != "finished":
            yield f"{run_name(section, group, run)}: {_state(run)} ({run.path})"
    keys = [key for key in section.varying if key != "alpha"]
    series = [one for one in section.groups if all(_same(one, group, key) for key in keys)]
    seeds = {key_of(run.seed): run.seed for one in series for run in one.runs if run.seed is not None}
    lacking = set(seeds) - {key_of(run.seed) for run in group.runs}
    if lacking:
        shown = ", ".join(spell(seeds[seed]) for seed in sorted(lacking, key=order_of))
        yield f"{run_name(section, group)}: no run with seed {shown}"


def _same(one: Group, other: Group, key: str) -> bool:
    return key_of(one.settings.get(key)) == key_of(other.settings.get(key))


def _state(run: Run) -> str:
    at = "" if run.epoch is None else f" at epoch {spell(run.epoch)} of {spell(run.fields.get('epochs', '?'))}"
    if run.status == "failed":
        return f"failed{at}: {run.summary.get('error') or 'no error recorded'}"
    if run.status == "unfinished":
        return f"no summary, so still running or killed;{at or ' no evaluation yet'}"
    return f"{run.status}{at}"


def _not_measured(section: Section) -> list[str]:
    """The probes that could not measure, by reason."""
    counts: dict[tuple[str, str], int] = {}
    for run in section.runs:
        for probe, reason in (run.summary.get("not_measured") or {}).items():
            key = str(probe), " ".join(str(reason).split())
            counts[key] = counts.get(key, 0) + 1
    return [
        f"not measured: {probe.replace('_', ' ')}: {reason} ({n} of {len(section.runs)} runs)"
        for (probe, reason), n in counts.items()
    ]
