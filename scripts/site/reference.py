"""The reference: a page for each package that declares its public names, ``lazytorch`` first."""

import importlib
import importlib.util
import inspect
import pkgutil

from roles import as_markdown

import lazytorch

SKIPPED = {"lazytorch.cli"}  # a program, whose pages are those of its keys


def pages() -> dict[str, str]:
    """The pages; an object that several packages export is described on the page of the last of them."""
    packages = ["lazytorch", *sorted(_packages())]
    homes = {_key(package, name): package for package in packages for name in importlib.import_module(package).__all__}
    made = {f"reference/{package}.md": _page(package, homes) for package in packages}
    return {"reference/index.md": made.pop("reference/lazytorch.md")} | made


def _packages() -> list[str]:
    found = [f"lazytorch.{module.name}" for module in pkgutil.iter_modules(lazytorch.__path__) if module.ispkg]
    return [name for name in found if name not in SKIPPED and hasattr(importlib.import_module(name), "__all__")]


def _key(package: str, name: str) -> object:
    """What tells whether two names are of one object; plain values are known by their name."""
    value = getattr(importlib.import_module(package), name)
    return value if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value) else (package, name)


def _page(package: str, homes: dict) -> str:
    module = importlib.import_module(package)
    parts = [f"# {package}\n\n{as_markdown(module.__doc__ or '').strip()}\n"]
    for name in module.__all__:
        value, home = getattr(module, name), homes[_key(package, name)]
        if inspect.ismodule(value):
            parts.append(f"## {name}\n\nSee [{package}.{name}]({package}.{name}.md).\n")
        elif home == package:
            parts.append(f"::: {_path(value, package, name)}\n")
        else:
            parts.append(f"## {name}\n\nSee [{home}.{name}][{_path(value, home, name)}].\n")
    return "\n".join(parts)


def _path(value: object, package: str, name: str) -> str:
    """The path in the package; where a module of the same name lies there, the one where the object is defined."""
    shadowed = importlib.util.find_spec(f"{package}.{name}")
    return f"{value.__module__}.{value.__qualname__}" if shadowed else f"{package}.{name}"
