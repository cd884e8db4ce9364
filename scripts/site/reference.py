"""The reference: a page for each package that declares its public names, ``lazytorch`` first."""

import importlib
import inspect
import pkgutil

import lazytorch

SKIPPED = {"lazytorch.cli"}  # a program, whose pages are those of its keys


def pages() -> dict[str, str]:
    """The pages; an object that several packages export is described on the page of the innermost."""
    packages = ["lazytorch", *sorted(_packages())]
    homes = {}
    for package in packages:
        for name in importlib.import_module(package).__all__:
            homes.setdefault(_key(package, name), []).append(f"{package}.{name}")
    described = {paths[-1] for paths in homes.values()}
    made = {f"reference/{package}.md": _page(package, homes, described) for package in packages}
    return {"reference/index.md": made.pop("reference/lazytorch.md")} | made


def _packages() -> list[str]:
    found = [f"lazytorch.{module.name}" for module in pkgutil.iter_modules(lazytorch.__path__) if module.ispkg]
    return [name for name in found if name not in SKIPPED and hasattr(importlib.import_module(name), "__all__")]


def _key(package: str, name: str) -> object:
    """What tells whether two names are of one object; plain values are known by their name."""
    value = getattr(importlib.import_module(package), name)
    return value if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value) else (package, name)


def _page(package: str, homes: dict, described: set[str]) -> str:
    module = importlib.import_module(package)
    parts = [f"# {package}\n\n{inspect.getdoc(module)}\n"]
    for name in module.__all__:
        (home,) = homes[_key(package, name)][-1:]
        if inspect.ismodule(getattr(module, name)):
            parts.append(f"## {name}\n\nSee [{package}.{name}]({package}.{name}.md).\n")
        elif home in described and home == f"{package}.{name}":
            parts.append(f"::: {home}\n")
        else:
            parts.append(f"## {name}\n\nSee [{home}][].\n")
    return "\n".join(parts)
