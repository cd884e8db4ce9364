"""hydra's own errors in one line, with the remedy."""

import re
import sysconfig
import traceback
from pathlib import Path

from hydra.errors import HydraException, MissingConfigException, OverrideParseException

from ..experiments.compose import find_experiment, keys_of, unknown_key
from .arguments import composed

PACKAGE, LIBRARY = Path(__file__).parents[1], Path(sysconfig.get_path("stdlib"))
UNKNOWN = re.compile(r"(?:Could not override|Could not append|Key) '([^']+)'")
SEVERAL = re.compile(r"Ambiguous value for argument '([^']+)'")


def explain(error: BaseException, conf: Path, arguments: list[str]) -> str:
    """The message of ``error`` in one line; of hydra's own errors in our words."""
    text = one_line(error)
    if isinstance(error, OverrideParseException):
        name = error.override.partition("=")[0]
        return (
            f"cannot read {error.override!r}: write numbers as 1e7, and text with special characters in quotes, "
            f"as \"{name}='...'\""
        )
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return f"there is no {group}={name}: choose one of {', '.join(sorted(error.options))}"
    if isinstance(error, HydraException) and (several := SEVERAL.search(text)):
        return f"{several.group(1)} has several values: add -m to sweep over them, or make a list, in brackets"
    if isinstance(error, HydraException) and (unknown := UNKNOWN.search(text)):
        return _explain_unknown(unknown.group(1), conf, arguments)
    return text


def one_line(error: BaseException) -> str:
    """The message without line breaks; of an error that the user's own code raises, its kind and place too."""
    text = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not _is_own(Path(frames[-1].filename)):
        return text or type(error).__name__
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
    return f"{type(error).__name__}{f': {text}' if text else ''} ({place})"


def _is_own(file: Path) -> bool:
    """Whether it is neither a part of this package nor installed."""
    installed = {PACKAGE, LIBRARY} & {*file.parents} or "site-packages" in file.parts
    return file.is_file() and not installed


def _explain_unknown(name: str, conf: Path, arguments: list[str]) -> str:
    """Which key was meant, of those that the chosen experiment has."""
    try:
        cfg = composed(conf, arguments, groups_alone=True)
        kind = find_experiment(cfg.get("_target_"))
    except (HydraException, ValueError, RuntimeError):
        return f"nothing reads the key {name}: remove it"
    chosen = cfg.hydra.runtime.choices.experiment
    if name == "scale":
        return f"experiment={chosen} has no scales: leave out scale, or choose one whose file has the key"
    if name in keys_of(kind):
        return f"{name} is not in the file of experiment={chosen}: add it there, or write +{name}=..."
    return unknown_key(name, kind, [f"model.{key}" for key in cfg.get("model") or ()])
