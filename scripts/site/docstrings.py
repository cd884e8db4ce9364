"""What mkdocstrings is shown of the package: docstrings as Markdown, of an experiment's key its default."""

import griffe
from roles import as_markdown


class Docstrings(griffe.Extension):
    """Rewrites the package once it is loaded and names can be resolved, and before signatures are made of fields."""

    def on_package(self, *, pkg, loader, **_):
        self._rewrite(pkg)

    def _rewrite(self, item):
        if item.docstring:
            item.docstring.value = as_markdown(item.docstring.value, resolve=lambda name: _path(item, name))
        if item.is_attribute and _is_key(item.value):
            item.value = getattr(item.value.arguments[0], "value", item.value.arguments[0])
        for member in item.members.values():
            if not member.is_alias:
                self._rewrite(member)


def _is_key(value) -> bool:
    return isinstance(value, griffe.ExprCall) and str(value.function) == "key"


def _path(item, name: str) -> str:
    """The canonical path of a name that a docstring of ``item`` mentions; the name itself where nothing has it."""
    first, _, rest = name.partition(".")
    try:
        path = item.resolve(first)
    except griffe.NameResolutionError:
        return name
    return f"{path}.{rest}" if rest else path
