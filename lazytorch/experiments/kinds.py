"""The kinds of runs: a configuration without the key ``kind`` is a training run, the others are in this table."""

from collections.abc import Callable
from dataclasses import dataclass

from ..runs import RunDirectory
from . import kernel_spectrum, linear_dynamics
from .training_run import train


@dataclass(frozen=True)
class Kind:
    """How to run a configuration, and the keys it reads, dotted; a group's name stands for all of its keys."""

    run: Callable[[dict], RunDirectory]
    keys: frozenset[str]

    def reads(self, key: str) -> bool:
        """Whether the dotted ``key`` is read, or some key below it."""
        group = key.split(".")[0]
        return key in self.keys or group in self.keys or any(name.startswith(f"{key}.") for name in self.keys)

    def select(self, config: dict) -> dict:
        """The part of ``config`` that is read."""
        return {
            key: {k: v for k, v in value.items() if self.reads(f"{key}.{k}")} if isinstance(value, dict) else value
            for key, value in config.items()
            if self.reads(key)
        }


# What every kind but training reads.
SHARED = {"kind", "runs_dir", "name", "resume", "seed", "device", "model"}
SHARED |= {f"data.{key}" for key in ("name", "root", "train_size", "mean", "std", "size")}

KINDS = {
    "linear_dynamics": Kind(linear_dynamics.run, frozenset(SHARED | linear_dynamics.KEYS)),
    "kernel_spectrum": Kind(kernel_spectrum.run, frozenset(SHARED | kernel_spectrum.KEYS)),
}


def find_kind(name: str | None) -> Kind | None:
    """The kind of that name; None for None, a training run, which reads every key.

    Raises:
        ValueError: there is no such kind.
    """
    if name is None:
        return None
    if name not in KINDS:
        raise ValueError(f"unknown kind {name!r}: choose one of {', '.join(KINDS)}, or leave it out for a training run")
    return KINDS[name]


def run(config: dict) -> RunDirectory:
    """Run ``config`` (the resolved configuration) as its kind asks; what is finished is left as it is."""
    kind = find_kind(config.get("kind"))
    return train(config) if kind is None else kind.run(config)
