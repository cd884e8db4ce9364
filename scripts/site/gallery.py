"""The gallery: a page for each experiment of conf/experiment, from its file and its class alone."""

import inspect
import re
from pathlib import Path

from roles import as_markdown

from lazytorch.cli import CONF
from lazytorch.cli.arguments import composed
from lazytorch.experiments import Experiment
from lazytorch.experiments.compose import find_experiment
from lazytorch.reports import Bars, Claim, Figure, Published

DOCS = Path(__file__).parents[2] / "docs"
CONFIGURATIONS = {file.stem: file for file in sorted((CONF / "experiment").glob("*.yaml"))}


def pages() -> dict[str, str]:
    """The page of each experiment, and first the one that lists them."""
    made = {f"gallery/{name}.md": page(name) for name in CONFIGURATIONS}
    return {"gallery/index.md": index()} | made


def index() -> str:
    """What each experiment is about, with its first figure."""
    parts = ["# Gallery\n\nEvery experiment that comes with lazytorch; each is one command.\n"]
    for name in CONFIGURATIONS:
        parts.append(f"## [{name}]({name}.md)\n\n{_about(name)}\n\n" + "".join(_pictures(name)[:1]))
    return "\n".join(parts)


def page(name: str) -> str:
    """One experiment: what it is, command, figures, claims, published numbers and configuration."""
    kind = find_experiment(composed(CONF, [f"experiment={name}"]).get("_target_"))
    text = CONFIGURATIONS[name].read_text(encoding="utf-8")
    parts = [
        f"# {name}\n\n{_about(name)}\n",
        "```bash\n" + "\n".join(commands(name)) + "\n```\n",
        *_pictures(name),
        f"## What it does\n\n{as_markdown(inspect.getdoc(kind) or '')}\n",
        *_claims(kind),
        f"## Configuration\n\n`conf/experiment/{name}.yaml`; all its keys are [those of {kind.__name__}]"
        f"(../keys.md#{kind.__name__.lower()}).\n",
        f"```yaml\n{text}```\n",
    ]
    return "\n".join(parts)


def commands(name: str) -> list[str]:
    """The commands in the comment at the top of the experiment's file."""
    found = [line.strip() for line in _comment(name) if line.startswith(" ") and line.strip().startswith("lazytorch ")]
    return [re.sub(r"\s+\((.*?)\)?$", r"  # \1", line) for line in found] or [f"lazytorch experiment={name}"]


def figures(name: str) -> list[Path]:
    """The pictures of docs/ that bear the experiment's name, and not a longer one's."""
    files = sorted(DOCS.glob("*.png"), key=lambda file: file.stem)
    return [file for file in files if _owner(file.stem.replace("-", "_")) == name]


def _owner(stem: str) -> str:
    owners = [name for name in CONFIGURATIONS if f"{stem}_".startswith(f"{name}_")]
    return max(owners, key=len, default="")


def _comment(name: str) -> list[str]:
    lines = CONFIGURATIONS[name].read_text(encoding="utf-8").splitlines()
    rest = [line for line in lines if line != "# @package _global_"]
    length = next((i for i, line in enumerate(rest) if not line.startswith("#")), len(rest))
    return [line.removeprefix("#").removeprefix(" ") for line in rest[:length]]


def _about(name: str) -> str:
    """The comment up to its first command."""
    lines = _comment(name)
    length = next((i for i, line in enumerate(lines) if line.startswith(" ")), len(lines))
    return " ".join(lines[:length]).rstrip(":")


def _pictures(name: str) -> list[str]:
    return [f"![{file.stem.replace('-', ' ')}](../{file.name})\n" for file in figures(name)]


def _claims(kind: type[Experiment]) -> list[str]:
    """What its report draws, claims and compares."""
    items = kind.report.items
    lines = {
        "Figures": [f"`{item.name}`: {item.caption}" for item in items if isinstance(item, Figure | Bars)],
        "Claims": [
            item.text + (f" ({item.source})" if item.source else "") for item in items if isinstance(item, Claim)
        ],
        "Published numbers": [
            f"{item.title}, {item.source}" + (f": {item.text}" if item.text else "")
            for item in items
            if isinstance(item, Published)
        ],
    }
    notes = {
        "Figures": "What `lazytorch-report` draws of its runs:",
        "Claims": "Every run checks these and keeps the outcome in its summary:",
        "Published numbers": "What the report sets beside its runs:",
    }
    return [
        f"## {title}\n\n{notes[title]}\n\n" + "\n".join(f"- {as_markdown(line)}" for line in listed) + "\n"
        for title, listed in lines.items()
        if listed
    ]
