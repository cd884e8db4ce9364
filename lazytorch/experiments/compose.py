"""From a composed configuration to the experiment that it is."""

import difflib
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from ..models import find_target
from .experiment import Experiment
from .fields import flat
from .scale import scaled as scaled  # which registers ${scaled:...}


def compose(config: DictConfig, name: str) -> Experiment:
    """The experiment whose class ``_target_`` names, with the values of ``config``; ``name`` if none is configured.

    Raises:
        ValueError: the class is none, a key is not a field, or a value has the wrong type; names key and remedy.
    """
    values = _resolved(config)
    kind = find_experiment(values.pop("_target_", None))
    schema = OmegaConf.structured(kind)
    _make_writable(schema)
    _check_groups(schema, values)
    try:
        merged = OmegaConf.merge(schema, OmegaConf.create(values))
    except OmegaConfBaseException as error:
        raise ValueError(_explain(error, kind)) from error
    plain: Any = OmegaConf.to_container(merged)
    plain["name"] = str(plain["name"] or name)
    return _typed(kind, plain)


def find_experiment(target: Any) -> type[Experiment]:
    """The class of that dotted path, which is imported but not called.

    Raises:
        ValueError: it is no subclass of Experiment, no dataclass, or has a field without a default.
    """
    if not isinstance(target, str):
        raise ValueError("the configuration has no _target_: choose an experiment, as experiment=training")
    kind = find_target(target, "experiment")
    if not (isinstance(kind, type) and issubclass(kind, Experiment)):
        raise ValueError(f"_target_={target} is no lazytorch.experiments.Experiment: name a class that is one")
    if "__dataclass_fields__" not in vars(kind):
        raise ValueError(f"{target} is no dataclass: put @dataclass(frozen=True) above it")
    try:
        kind()
    except TypeError as error:
        raise ValueError(f"{target} has a field without a default ({error}): give it one") from error
    return kind


def unknown_key(name: str, kind: type[Experiment], others: Iterable[str] = ()) -> str:
    """What is wrong with a key that ``kind`` does not read, and the one that was meant, of its own and ``others``."""
    known = [*keys_of(kind), *others]
    meant = [other for other in known if other.rpartition(".")[2] == name.rpartition(".")[2]]
    meant = meant or difflib.get_close_matches(name, known, n=1)
    return f"{kind.__name__} reads no key {name}: remove it{f', or use {meant[0]}' if meant else ''}"


def keys_of(kind: type[Experiment]) -> list[str]:
    """The dotted names of the fields."""
    return [name for name, _, _ in flat(kind())]


def _resolved(config: DictConfig) -> dict:
    try:
        values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key} is not given: set it, as in {error.full_key}=...") from None
    except InterpolationResolutionError as error:
        reason = str(error).splitlines()[0].partition("resolving interpolation: ")[2] or error.msg
        raise ValueError(f"{error.full_key}: {reason}") from error
    return _with_infinity({name: value for name, value in values.items() if name != "hydra"})


def _with_infinity(value: Any) -> Any:
    """YAML's spelling of infinity, which the command line hands on as text."""
    if isinstance(value, dict):
        return {name: _with_infinity(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_infinity(item) for item in value]
    return "inf" if value == ".inf" else value


def _make_writable(schema: DictConfig) -> None:
    """Let values be merged into the groups of a frozen dataclass."""
    OmegaConf.set_readonly(schema, False)
    for name in schema:
        if isinstance(schema[name], DictConfig):
            _make_writable(schema[name])


def _check_groups(schema: DictConfig, values: dict) -> None:
    """Raise ValueError for a value in the place of a group of keys."""
    for name, value in values.items():
        group = schema.get(name)
        if isinstance(group, DictConfig) and group and not isinstance(value, dict | None):
            keys = ", ".join(f"{name}.{key}" for key in group)
            raise ValueError(f"{name}={value} stands in the place of the keys {keys}: give these")


def _explain(error: OmegaConfBaseException, kind: type[Experiment]) -> str:
    name, message = error.full_key or "", str(error.msg or error).splitlines()[0]
    if isinstance(error, ConfigKeyError):
        return unknown_key(name, kind)
    if "not Optional" in message or "'None'" in message:
        return f"{name} is null: leave it out, or give it a value"
    return f"{name}: {message[:1].lower()}{message[1:]}: correct it"


def _typed(kind: type, values: dict) -> Any:
    """``values`` as an instance of the dataclass ``kind``: groups as theirs, lists as tuples where it has tuples."""
    hints = get_type_hints(kind)
    made = {}
    for field in fields(kind):
        value, hint = values[field.name], hints[field.name]
        if isinstance(hint, type) and is_dataclass(hint):
            value = _typed(hint, value)
        elif get_origin(hint) is tuple and isinstance(value, list):
            value = tuple(value)
        made[field.name] = value
    return kind(**made)
