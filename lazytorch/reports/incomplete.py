"""What a sweep lacks: runs that did not finish, and seeds that some alphas have and others have not."""

from collections.abc import Iterator

from lazytorch.reports.sweep import Member, Series, Sweep
from lazytorch.reports.tables import spell_alpha


def incomplete(sweep: Sweep) -> list[str]:
    """One line for everything missing, and for every run directory that was left out because it repeats another."""
    lines = [f"{path}: the same run as another directory holds; counted once" for path in sweep.repeated]
    return [line for series in sweep.series for line in _of_series(series)] + lines


def _of_series(series: Series) -> Iterator[str]:
    seeds = {member.seed for member in series.members}
    for cell in series.cells:
        name = f"{series.label}, " if series.label else ""
        for member in cell.members:
            if member.status != "finished":
                yield f"{name}alpha = {spell_alpha(cell.alpha)}, seed {member.seed}: {_state(member)} ({member.path})"
        missing = sorted(seeds - {member.seed for member in cell.members})
        if missing:
            yield f"{name}alpha = {spell_alpha(cell.alpha)}: no run with seed {', '.join(map(str, missing))}"


def _state(member: Member) -> str:
    at = f"at epoch {member.epoch} of {member.config.get('epochs', '?')}"
    if member.status == "unfinished":
        return f"no summary, so still running or killed; {at}" if member.metrics else "no summary and no evaluation yet"
    return f"{member.status} {at}"
