"""A docstring as Markdown: roles become links where there is something to link to, formulas are left as they are."""

import re

ROLE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?\.?([^`]+)`")
CODE = re.compile(r"(``.+?``|`[^`]+`|<autoref.+?</autoref>)", re.DOTALL)


def as_markdown(text: str, resolve=None) -> str:
    """``text`` with its roles as links, and with what Markdown would take for markup escaped."""
    text = re.sub(r"::\n\n(?= )", ":\n\n", text)
    text = ROLE.sub(lambda match: _link(match[1], resolve), text)
    parts = CODE.split(text)
    return "".join(part if i % 2 else _escaped(part) for i, part in enumerate(parts))


def _link(name: str, resolve) -> str:
    label = name.rpartition(".")[2]
    return f'<autoref optional identifier="{resolve(name) if resolve else name}"><code>{label}</code></autoref>'


def _escaped(text: str) -> str:
    text = re.sub(r"<(?=[a-zA-Z/])", "&lt;", text)
    return re.sub(r"^(\s*)([>#])", r"\1\\\2", text, flags=re.MULTILINE)
