"""Durations in words."""


def spell_seconds(seconds: float) -> str:
    """In seconds, minutes, hours or days, with two or three digits."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{int(size >= 3600)}f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
