"""The arguments, as hydra's grammar takes them, and what they choose."""

import os
from collections.abc import Iterable
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

PATHS = ("data.root", "runs_dir", "resume")
GROUPS = ("experiment", "model", "data")


def readable(argument: str, is_sweep: bool) -> str:
    """A path as hydra's grammar takes it: ~ written out, and in quotes where it has characters that the grammar lacks.

    In a sweep a comma separates paths, unless the whole is one that exists.
    """
    name, equals, value = argument.partition("=")
    if not equals or name not in PATHS or value[:1] in "\"'[{":
        return argument
    is_one = not is_sweep or os.path.exists(os.path.expanduser(value))
    paths = [os.path.expanduser(path) for path in ([value] if is_one else value.split(","))]
    return f"{name}={','.join(path if _can_be_read(f'{name}={path}') else quoted(path) for path in paths)}"


def ordered(arguments: list[str]) -> list[str]:
    """Options first: argparse takes none between overrides."""
    overrides = get_args_parser().parse_intermixed_args(arguments).overrides
    return [argument for argument in arguments if argument not in overrides] + overrides


def quoted(text: str) -> str:
    """``text`` in the quotes of hydra's grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def composed(conf: Path, arguments: list[str], groups_alone: bool = False) -> DictConfig:
    """The configuration that ``arguments`` choose, or their choices of groups alone.

    Raises:
        HydraException: hydra refuses them.
    """
    given = get_args_parser().parse_args(arguments)
    overrides = [text for text in given.overrides if not groups_alone or _is_choice(text)]
    if given.config_dir:
        overrides.append(f"hydra.searchpath=[{quoted(f'file://{Path(given.config_dir).resolve()}')}]")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        return compose("config", overrides, return_hydra_config=True)


def files(conf: Path, arguments: Iterable[str], group: str) -> dict[str, Path]:
    """What can be chosen of a group, in ``conf`` and in the user's own directory: names and files."""
    own = get_args_parser().parse_args(arguments).config_dir
    folders = [conf, Path(own)] if own else [conf]
    return {file.stem: file for folder in folders for file in sorted((folder / group).glob("*.yaml"))}


def _is_choice(override: str) -> bool:
    return override.partition("=")[0] in GROUPS and "," not in override


def _can_be_read(argument: str) -> bool:
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException:
        return False
    return not override.is_sweep_override()
