"""A plan in words."""

from collections.abc import Sequence

from ..durations import spell_seconds
from .counting import Cost
from .plan import PEAKS, SUSTAINED, Part, Plan

UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def line(plan: Plan) -> str:
    """The plan in one line."""
    amount = plan.training.amount
    beside = f" of {amount.members} models side by side" if amount.members > 1 else ""
    hours = ", ".join(f"{spell_seconds(seconds)} on {device}" for device in PEAKS if (seconds := plan.seconds(device)))
    return (
        f"plan: {flops(plan.flops)}{beside}, {memory(plan.memory)} of tensors at the peak; "
        f"about {hours} ({plan.precision}, at {SUSTAINED:.0%} of the dense peak), without probes"
    )


def text(plan: Plan, timed: str) -> str:
    """The plan in full; ``timed`` says what the clock says of this machine."""
    amount, training, released = plan.training.amount, plan.training, plan.released
    rows = [("", "FLOPs", "peak memory"), *_rows(training, "")]
    if amount.members > 1:
        rows += [("a step of one member alone", *_cells(plan.alone.step))]
    rows += [(f"probe {name}, a member", *_cells(cost)) for name, cost in plan.probes.items()]
    rows += [(f"probe {name}", "not counted:", reason) for name, reason in plan.not_counted.items()]
    rows += [("the whole run", flops(plan.flops), memory(plan.memory))]
    if released:
        rows += _rows(released, "released protocol: ")
        whole = max(released.step.memory, released.evaluation.memory)
        rows += [("released protocol: all members", flops(released.flops), memory(whole))]
    sides = f"{amount.members} member{'s' * (amount.members > 1)} side by side" if amount.members > 1 else "one member"
    turns = f", {amount.runs} times" if amount.runs > 1 else ""
    head = (
        f"{sides}{turns}: {plan.parameters:,} parameters, {amount.epochs} epochs of {amount.steps:g} steps, "
        f"{amount.evaluations + 1} evaluations of {amount.evaluated:,} examples, {plan.precision}"
    )
    return "\n".join([head, "", *_table(rows), "", *_table(_hours(plan)), "", *_assumptions(plan), timed])


def _rows(part: Part, what: str) -> list[tuple[str, str, str]]:
    return [
        (f"{what}a step", *_cells(part.step)),
        (f"{what}an epoch", flops(part.epoch), ""),
        (f"{what}an evaluation", *_cells(part.evaluation)),
    ]


def _cells(cost: Cost) -> tuple[str, str]:
    return flops(cost.flops), memory(cost.memory)


def _hours(plan: Plan) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("", *PEAKS)]
    seconds = [plan.seconds(device) for device in PEAKS]
    rows.append((f"this run, {plan.precision}", *("-" if s is None else spell_seconds(s) for s in seconds)))
    if plan.released:
        rows.append(("released protocol, float64", *(spell_seconds(plan.released_seconds(device)) for device in PEAKS)))
    return rows


def _assumptions(plan: Plan) -> list[str]:
    used = dict.fromkeys([plan.precision, "float64"])
    peaks = (f"{device} " + ", ".join(f"{p} {peak[p]:g}" for p in used if p in peak) for device, peak in PEAKS.items())
    return [
        f"Times assume {SUSTAINED:.0%} of the dense peaks, in TFLOP/s: {'; '.join(peaks)}. Probes are in float64.",
        "The released protocol is float64, f(w) - f(w_0) with both passes differentiated, one member after another.",
        f"Memory is that of tensors, {memory(plan.data)} of it the images'. The process takes its own beside, and on a",
        "CPU glibc keeps up to as much again (MALLOC_MMAP_THRESHOLD_=1048576: little, in up to a third more time).",
    ]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns, the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]


def flops(number: float) -> str:
    """With a prefix."""
    size, prefix = next(((size, prefix) for size, prefix in UNITS if number >= size), (1, ""))
    return f"{number / size:.3g} {prefix}FLOP"


def memory(number: float) -> str:
    """In MiB or GiB."""
    return f"{number / 2**20:.0f} MiB" if number < 2**30 else f"{number / 2**30:.2f} GiB"
