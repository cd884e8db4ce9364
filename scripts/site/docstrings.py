"""The extension of mkdocstrings that makes Markdown of every docstring of the package."""

import griffe
from roles import as_markdown


class Docstrings(griffe.Extension):
    """Rewrites every docstring of the package, once it is loaded and names can be resolved."""

    def on_package(self, *, pkg, loader, **_):
        self._rewrite(pkg)

    def _rewrite(self, item):
        if item.docstring:
            item.docstring.value = as_markdown(item.docstring.value, resolve=lambda name: _path(item, name))
        for member in item.members.values():
            if not member.is_alias:
                self._rewrite(member)


def _path(item, name: str) -> str:
    """The canonical path of a name that a docstring of ``item`` mentions; the name itself where nothing has it."""
    first, _, rest = name.partition(".")
    try:
        path = item.resolve(first)
    except griffe.NameResolutionError:
        return name
    return f"{path}.{rest}" if rest else path
