"""What a dotted path names: networks, losses, probes and experiments of the user's own."""

import contextlib
import importlib
import os
import sys
import types
from collections.abc import Iterator


def find_target(target: str, what: str = "target") -> object:
    """What the dotted path ``target``, module.Name, names.

    The module is imported with the current directory importable. ``what`` says in errors what ``target`` is the value
    of, as model._target_.

    Raises:
        ValueError: if it is no dotted path, cannot be found, or names nothing in its module.
        RuntimeError: if importing the module fails.
    """
    path, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not path or not all(part.isidentifier() for part in target.split(".")):
        raise ValueError(f"{what} {target!r} is not a dotted path: write module.Name, as in my.module.Net")
    with _importable(os.getcwd()):
        module = _import(path, what)
    if not hasattr(module, name):
        raise ValueError(f"module {path} has no {name!r}: correct the {what} {target}")
    return getattr(module, name)


@contextlib.contextmanager
def _importable(directory: str) -> Iterator[None]:
    if directory in sys.path:
        yield
        return
    sys.path.insert(0, directory)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the module imported may have removed it
            sys.path.remove(directory)


def _import(path: str, what: str) -> types.ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            raise ValueError(
                f"{what}: no module named {error.name!r}: install it, or run in the directory that holds it "
                f"(searched: {os.getcwd()} and the installed packages)"
            ) from error
        raise RuntimeError(f"module {path} imports {error.name!r}, which is not installed: install it") from error
    except (Exception, SystemExit) as error:  # a script may exit where it was to be imported
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RuntimeError(f"importing {path} failed ({reason}): correct that module") from error
