"""``lazytorch --help``: what can be chosen, and every key with what it means."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from ..experiments import Experiment
from ..experiments.compose import find_experiment
from ..experiments.fields import flat
from .arguments import GROUPS, composed, files


def print_help(conf: Path, arguments: list[str]) -> None:
    """Print what can be chosen, and the keys of what ``arguments`` choose, each with its value and meaning."""
    cfg = composed(conf, arguments)
    choices = cfg.hydra.runtime.choices
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    values: Any = OmegaConf.to_container(own, resolve=True)
    kind = find_experiment(values.get("_target_"))
    print("lazytorch key=value ...           one run\nlazytorch -m key=1,2,3 ...        a sweep over values")
    for group in GROUPS:
        print()
        for name, file in files(conf, arguments, group).items():
            print(f"{group}={name}".ljust(32) + f"  # {_first_comment(file)}")
    print(f"\nThe keys of experiment={choices.experiment}, their values and what they mean:\n")
    comments = _comments(files(conf, arguments, "model"), choices.get("model"))
    for name, value, meaning in _keys(kind, values, comments):
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6).strip().removesuffix("...").strip()
        print(f"{name}={text}".ljust(44) + f"  # {meaning}")
    print("\n--version, --cfg job, --config-dir DIR (your own experiments) and hydra's other options are there too.")


def _keys(kind: type[Experiment], values: Mapping, comments: Mapping[str, str]) -> Iterator[tuple[str, object, str]]:
    """(dotted name, value, meaning) of every key; the keys of a model are the model's own."""
    for name, _, field in flat(kind()):
        value = values
        for part in name.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        meaning = field.metadata.get("meaning", "")
        if name == "model" and isinstance(value, Mapping):
            yield from ((f"model.{key}", item, comments.get(key, meaning)) for key, item in value.items())
        else:
            yield name, value, meaning


def _first_comment(file: Path) -> str:
    lines = (
        line[1:].strip().rstrip(":") for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")
    )
    return next((line for line in lines if not line.startswith("@")), "")


def _comments(models: Mapping[str, Path], model: str | None) -> dict[str, str]:
    """What the file of a model, and those that it is based on, say of its keys."""
    if model is None or model not in models:
        return {}
    text = models[model].read_text(encoding="utf-8")
    bases = [base for base in (yaml.safe_load(text) or {}).get("defaults", []) if base != "_self_"]
    inherited = {key: said for base in bases for key, said in _comments(models, base).items()}
    return inherited | dict(re.findall(r"^(\w+):[^#\n]*#\s*(.+)$", text, re.MULTILINE))
