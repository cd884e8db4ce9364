"""What the runs of a section have in common: data, model, device, precision, versions and numbers of runs."""

from .labels import spell_setting
from .reading import Run
from .sections import Section
from .values import spell

SHOWN = 6  # values of one entry


def header(section: Section) -> str:
    """One paragraph; what no run records is not in it."""
    seeds = {spell(run.seed) for run in section.runs if run.seed is not None}
    entries = [
        ("Data", _data(section)),
        ("Model", _values(section, "model", "model.name", "model._target_", "about.model")),
        ("Device", _values(section, "versions.device", "device")),
        ("Precision", _values(section, "precision", "versions.precision", "about.precision")),
        ("torch", _values(section, "versions.torch")),
        ("lazytorch", _values(section, "versions.lazytorch")),
        ("git", _values(section, "versions.git")),
        ("Python", _values(section, "versions.python")),
        ("Runs", str(len(section.runs))),
        ("Seeds", f"n = {len(seeds)}" if seeds else ""),
    ]
    return " ".join(f"{name}: {text}." for name, text in entries if text)


def _data(section: Section) -> str:
    name = _values(section, "data", "data.name", "data._target_", "about.data")
    sizes = [
        f"{size} {part}"
        for part in ("train", "test")
        if (size := _values(section, f"about.{part}_size", f"data.{part}_size", f"about.{part}"))
    ]
    if not name and sizes:
        name = "given by the script"
    return f"{name} ({', '.join(sizes)})" if sizes else name


def _values(section: Section, *keys: str) -> str:
    """What the runs have at the first of ``keys`` that is there, each value once."""
    found = dict.fromkeys(text for run in section.runs if (text := _value(run, keys)))
    texts = list(found)
    return ", ".join(texts[:SHOWN]) + (f", and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


def _value(run: Run, keys: tuple[str, ...]) -> str:
    for key in keys:
        group, _, name = key.partition(".")
        place = {"versions": run.versions, "about": run.about}.get(group)
        value = run.fields.get(key) if place is None else place.get(name)
        if value is not None:
            return spell_setting(key, value)
    return ""
