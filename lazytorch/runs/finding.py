"""Where run directories are: all below some folders, or the one with a hash."""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from .directory import RunDirectory
from .reading import read_bytes
from .yaml_records import LIMIT

RECORDS = ("metrics.jsonl", "summary.json", "checkpoints")
MARK = re.compile(rb"^(layout|data_fingerprint):", re.MULTILINE)

logger = logging.getLogger("lazytorch.runs")


def find(paths: Iterable[str | os.PathLike]) -> list[RunDirectory]:
    """Every run directory at or below `paths`, each once, in the order of their paths.

    Links are followed; hidden folders and what lies inside a run are not looked at. A run of an old layout, or with a
    damaged config.yaml, is one of them: its `config` says what is wrong.

    Raises:
        FileNotFoundError: one of `paths` does not exist.
        NotADirectoryError: one of `paths` is a file.
    """
    roots = [paths] if isinstance(paths, str | os.PathLike) else paths
    seen: set[str] = set()
    found = [folder for root in roots for folder in _run_folders(Path(root), seen)]
    return [RunDirectory(folder) for folder in sorted(found)]


def locate(parent: Path, label: str, hash: str) -> RunDirectory:
    """The run with `hash` below `parent`, whatever its label; if there is none, `parent`/`label`-`hash`.

    Of several, the one with a summary, or else the first, with a warning.
    """
    parent = Path(parent)
    names = sorted(os.listdir(parent)) if parent.is_dir() else []
    folders = [parent / name for name in names if name == hash or name.endswith(f"-{hash}")]
    folders = [folder for folder in folders if folder.is_dir() and not folder.name.startswith(".")]
    finished = [folder for folder in folders if (folder / "summary.json").exists()]
    if len(folders) > 1:
        chosen = (finished or folders)[0]
        others = ", ".join(folder.name for folder in folders if folder != chosen)
        logger.warning("%s has several directories of one run: %s is used; remove %s", parent, chosen.name, others)
    return RunDirectory((finished or folders or [parent / f"{label}-{hash}".lstrip("-")])[0])


def _run_folders(root: Path, seen: set[str]) -> Iterator[Path]:
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist; give run directories, or folders that hold them")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file; give run directories, or folders that hold them")
    for folder, below, files in os.walk(root, followlinks=True, onerror=_warn):
        real = os.path.realpath(folder)
        is_run = real not in seen and _is_run(Path(folder), {*files, *below})
        # hydra keeps a config.yaml in .hydra
        visible = sorted(name for name in below if not name.startswith("."))
        below[:] = [] if is_run or real in seen else visible
        seen.add(real)
        if is_run:
            yield Path(folder)


def _is_run(folder: Path, names: set[str]) -> bool:
    if "config.yaml" not in names:
        return False
    try:
        marked = MARK.search(read_bytes(folder / "config.yaml", LIMIT) or b"")
    except ValueError:
        marked = None
    return bool(marked) or any(name in names for name in RECORDS)


def _warn(error: OSError) -> None:
    logger.warning("%s is left out: %s", error.filename, error.strerror)
