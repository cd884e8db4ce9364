#!/usr/bin/env python3
"""Writes docs/quantities.md and docs/keys.md from the declarations in the code: scripts/document_declarations.py."""

import json
from pathlib import Path

import yaml

from lazytorch.experiments.compose import find_experiment
from lazytorch.experiments.fields import flat, plain
from lazytorch.quantities import DECLARED

DOCS = Path(__file__).parents[1] / "docs"
CONF = DOCS.parent / "conf" / "experiment"


def quantities() -> str:
    """The table of quantities, in Markdown."""
    rows = ["| name | what it is | TensorBoard | in summary.json |", "|---|---|---|---|"]
    for quantity in DECLARED:
        tag = f"`{quantity.tag}`" if quantity.tag else ""
        cells = (f"`{quantity.name}`", _cell(quantity.meaning), tag, "yes" if quantity.in_summary else "")
        rows.append("| " + " | ".join(cells) + " |")
    return (
        "# Quantities\n\nWhat runs measure and vary, as declared in `lazytorch/quantities.py`.\n\n"
        + "\n".join(rows)
        + "\n"
    )


def keys() -> str:
    """The fields of every experiment, in Markdown."""
    parts = ["# Configuration keys\n\nThe fields of each experiment, which are its configuration.\n"]
    targets = {yaml.safe_load(file.read_text(encoding="utf-8")).get("_target_") for file in CONF.glob("*.yaml")}
    for target in sorted(targets - {None}):
        kind, name = find_experiment(target), target.rpartition(".")[2]
        parts.append(f"## {name}\n\n{(kind.__doc__ or '').strip().splitlines()[0]}\n")
        rows = ["| key | default | |", "|---|---|---|"]
        for key, value, field in flat(kind()):
            default = json.dumps(plain(value))
            rows.append(f"| `{key}` | `{default}` | {_cell(field.metadata.get('meaning', ''))} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES = {"quantities.md": quantities, "keys.md": keys}


def main() -> None:
    for name, write in PAGES.items():
        (DOCS / name).write_text(write(), encoding="utf-8")


if __name__ == "__main__":
    main()
