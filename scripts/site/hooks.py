"""What MkDocs asks for while it builds the site: the pages that are made, their place, and formulas as MathML."""

import html
import re
from pathlib import Path

import gallery
import notebook
import reference
from latex2mathml.converter import convert
from mkdocs.structure.files import File

CHECKOUT = Path(__file__).parents[2]
AT_THE_TOP = {"index.md": "README.md", "CHANGELOG.md": "CHANGELOG.md", "CITATION.cff": "CITATION.cff"}
BAR = re.compile("<mo[^>]*>&#x0007C;</mo>")  # of |d|, which is no operator between two numbers
SIGN = re.compile("(?<=(?:28|3D|2C);</mo>)<mo>&#x02212;</mo>")  # a minus after ( = or ,
FORMULA = re.compile(r'<(?:span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</(?:span|div)>', re.DOTALL)
MADE: dict[str, str] = {}


def on_config(config):
    """Make the pages, and resolve the navigation to what there is."""
    MADE.clear()
    MADE.update(gallery.pages() | reference.pages() | notebook.pages())
    for page, source in AT_THE_TOP.items():
        MADE[page] = (CHECKOUT / source).read_text(encoding="utf-8").replace("](docs/", "](")
    docs = Path(config.docs_dir)
    there = {path.relative_to(docs).as_posix() for path in docs.rglob("*")} | MADE.keys()
    named: set[str] = set()
    config.nav = list(_resolved(config.nav, there, named))
    if rest := sorted(page for page in there - named if page.endswith(".md")):
        config.nav.append({"More": rest})
    return config


def _resolved(entries, there: set[str], named: set[str]):
    """The entries of the navigation whose pages are there, folders as their pages; ``named`` gets what is named."""
    for entry in entries:
        ((title, value),) = entry.items() if isinstance(entry, dict) else ((None, entry),)
        if isinstance(value, list):
            yield {title: list(_resolved(value, there, named))}
        elif value.endswith("/"):
            pages = [page for page in MADE if page.startswith(value)]
            named.update(pages)
            yield from [{title: pages}] if title else pages
        elif value in there:
            named.add(value)
            yield {title: value}


def on_files(files, config):
    """Add the pages that are made."""
    for page, text in MADE.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to the notebook lead to its page, but from there."""
    return markdown if page.file.src_uri == "notebook.md" else markdown.replace("](notebook.ipynb)", "](notebook.md)")


def on_page_content(content, page, config, files):
    """Formulas as MathML, which browsers draw by themselves."""
    return FORMULA.sub(_mathml, content)


def _mathml(match):
    display = "block" if match[1] == "[" else "inline"
    formula = convert(html.unescape(match[2]).strip(), display=display)
    return SIGN.sub('<mo form="prefix">&#x02212;</mo>', BAR.sub("<mi>|</mi>", formula))
