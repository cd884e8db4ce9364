"""A document as blocks of plain text, and its two spellings: Markdown, and one HTML page that needs nothing else."""

import base64
import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .tables import Rows

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; font-size: 13px; } div.table { overflow-x: auto; margin: 1rem 0; }
th, td { padding: .2rem .6rem; text-align: left; border-bottom: 1px solid #e4e4e4; font-variant-numeric: tabular-nums; }
th { border-bottom: 1px solid #777; vertical-align: bottom; } td { white-space: nowrap; }
td.long { white-space: normal; min-width: 14rem; }
figure { margin: 1.5rem 0; } img { max-width: 100%; height: auto; } figcaption, p.note { color: #555; font-size: 13px; }
""".strip()
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
LONG = 40  # letters of a cell, beyond which it may be broken


@dataclass(frozen=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    lines: list[str]


@dataclass(frozen=True)
class Picture:
    """A figure, beside the document as ``stem``.png and ``stem``.pdf."""

    stem: str
    caption: str


Block = Heading | Text | Bullets | Picture | Rows


def to_markdown(blocks: Iterable[Block]) -> str:
    """The blocks in Markdown; whatever a text holds is shown as it is."""
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def to_html(title: str, blocks: Iterable[Block], folder: Path) -> str:
    """The blocks as one page, with the pictures of ``folder`` in it."""
    body = "\n".join(_html(block, folder) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def escape_markdown(text: str) -> str:
    """``text`` in one line, with whatever Markdown would read in it escaped."""
    line = re.sub(r"([\\`*_{}\[\]|$~])", r"\\\1", " ".join(str(text).split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"^(\d+(?=[.)] )|(?=#|[-+] ))", r"\1\\", line)


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {escape_markdown(block.text)}"
    if isinstance(block, Text):
        return escape_markdown(block.text)
    if isinstance(block, Bullets):
        return "\n".join(f"- {escape_markdown(line)}" for line in block.lines)
    if isinstance(block, Picture):
        caption = f"\n\n*{escape_markdown(block.caption)}*" if block.caption else ""
        return f"![{escape_markdown(block.stem)}]({block.stem}.png){caption}"
    lines = [block.head, ["---"] * len(block.head), *block.rows]
    spelt = [[cell if line is lines[1] else escape_markdown(cell) for cell in line] for line in lines]
    note = f"\n\n{escape_markdown(block.note)}" if block.note else ""
    return "\n".join("| " + " | ".join(line) + " |" for line in spelt) + note


def _html(block: Block, folder: Path) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_text(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{_text(block.text)}</p>"
    if isinstance(block, Bullets):
        return "<ul>\n" + "\n".join(f"<li>{_text(line)}</li>" for line in block.lines) + "\n</ul>"
    if isinstance(block, Picture):
        data = base64.b64encode((folder / f"{block.stem}.png").read_bytes()).decode()
        image = f'<img alt="{_text(block.stem)}" src="data:image/png;base64,{data}">'
        return f"<figure>{image}<figcaption>{_text(block.caption)}</figcaption></figure>"
    head = "".join(f"<th>{_text(cell)}</th>" for cell in block.head)
    rows = "\n".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in block.rows)
    note = f'\n<p class="note">{_text(block.note)}</p>' if block.note else ""
    return f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>{note}'


def _cell(text: str) -> str:
    return f'<td class="long">{_text(text)}</td>' if len(text) > LONG else f"<td>{_text(text)}</td>"


def _text(text: str) -> str:
    return html.escape(" ".join(str(text).split()))
