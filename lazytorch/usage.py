"""What the command line says of itself: its help, and its errors in one line with the remedy."""

import re
from collections.abc import Iterable
from pathlib import Path

import yaml
from hydra import compose as compose_configuration
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException

from .experiments.compose import find_experiment, keys_of, suggestion
from .experiments.fields import flat

PATHS = ("data.root", "runs_dir", "resume")
PLAIN = re.compile(r"[\w./\\:@%+-]*", re.ASCII)


def quoted(argument: str) -> str:
    """A path with characters that hydra's grammar does not have (~, spaces, letters beyond ASCII) in quotes."""
    key, equals, value = argument.partition("=")
    if not equals or key not in PATHS or value[:1] in "\"'[{" or "," in value or PLAIN.fullmatch(value):
        return argument
    return f"{key}=" + "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def print_help(conf: Path, overrides: Iterable[str]) -> None:
    """Every key of the configuration that ``overrides`` choose, with its value and what it means."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
        cfg = compose_configuration("config", list(overrides), return_hydra_config=True)
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(cfg, resolve=False)
    groups = {
        part.name: sorted(file.stem for file in part.glob("*.yaml")) for part in sorted(conf.iterdir()) if part.is_dir()
    }
    kind = find_experiment(values.get("_target_"))
    print("lazytorch key=value ...           one run\nlazytorch -m key=1,2,3 ...        a sweep over values\n")
    for group in ("experiment", "model", "data"):
        print(f"{group}=  {', '.join(groups[group])}")
    print(f"\nThe keys of {kind.__name__}, their values and what they mean:\n")
    for name, _, field in flat(kind()):
        value = values
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6).strip().removesuffix("...").strip()
        print(f"{name}={text}".ljust(44) + f"  # {field.metadata.get('meaning', '')}")
    print("\n--version, --cfg job, --config-dir DIR (your own experiments) and hydra's other options are there too.")


def explain(error: BaseException, conf: Path) -> str:
    """The message of ``error`` in one line; of hydra's own errors in our words."""
    if isinstance(error, OverrideParseException):
        override = getattr(error, "override", "")
        return (
            f"cannot read {override!r}: write numbers as 1e7, and text with special characters in quotes, "
            f"as \"{override.partition('=')[0]}='...'\""
        )
    text = " ".join(str(error).split())
    unknown = re.search(r"(?:Could not override|Key) '([^']+)'.*(?:not in struct|is not in struct|To append)", text)
    if isinstance(error, (ConfigCompositionException, HydraException)) and unknown:
        key = unknown.group(1)
        return f"nothing reads the key {key}: remove it{suggestion(key, _known(conf))}"
    return text or type(error).__name__


def _known(conf: Path) -> list[str]:
    kinds = {}
    for file in sorted((conf / "experiment").glob("*.yaml")):
        target = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("_target_")
        if target:
            kinds[target] = find_experiment(target)
    return list(dict.fromkeys(key for kind in kinds.values() for key in keys_of(kind)))
