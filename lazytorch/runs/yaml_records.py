"""config.yaml: one YAML mapping of plain values, without anchors, aliases and tags."""

from pathlib import Path
from typing import Any

import yaml

from .checks import ABOUT, CONFIG, RUN, check, damaged
from .reading import DEPTH, MIB, check_plain, decode, read_bytes, shown

LAYOUT = 2
LIMIT = 4 * MIB
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def dump_config(record: dict) -> str:
    """The text of config.yaml.

    Raises:
        ValueError: `read_config` would not take it.
    """
    check_plain(record)
    _check_config(record)
    try:
        return yaml.dump(record, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    except yaml.YAMLError as error:
        raise ValueError(f"the configuration is not plain: {shown(error)}; use plain numbers and strings") from None


def read_config(path: Path) -> dict:
    """The configuration in `path`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or of another layout; one line that names it, the reason and the remedy.
    """
    content = read_bytes(path, LIMIT)
    if content is None:
        raise FileNotFoundError(f"{path.parent} holds no config.yaml; give a run directory, as lazytorch prints it")
    try:
        record = _parse(decode(content))
        old = isinstance(record, dict) and "layout" not in record and "data_fingerprint" in record
        if not old:
            _check_config(record)
    except ValueError as error:
        raise damaged(path, error, f"restore it, or remove {path.parent} and train it again") from None
    if old:
        raise ValueError(f"{path.parent} is of the layout of lazytorch 0.1: this one cannot read it; train it again")
    return record


def _parse(text: str) -> Any:
    if not text.strip():
        raise ValueError("it is empty")
    try:
        _check_events(text)
        record = yaml.load(text, Loader=LOADER)
    except (yaml.YAMLError, OverflowError) as error:
        raise ValueError(f"it is not YAML ({error})") from None
    check_plain(record)
    return record


def _check_events(text: str) -> None:
    """Before anything is built: a few aliases of aliases would fill the memory, and nesting the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise ValueError(f"it holds an anchor, an alias or a tag (line {event.start_mark.line + 1})")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise ValueError(f"it is nested more than {DEPTH} deep")


def _check_config(record: dict) -> None:
    check(record, CONFIG)
    if record.get("layout") != LAYOUT:
        raise ValueError(f"its layout is {shown(record.get('layout'))}, not {LAYOUT}")
    check(record.get("about") or {}, ABOUT)
    check(record.get("changed") or {}, RUN)
