"""The command line: a hydra application over ``conf/``."""

import difflib
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf

from .experiments import Kind, find_kind, run, train_together
from .runs import canonical, read_alpha

PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[1] / "conf"


def main() -> None:
    """Run ``lazytorch``; the last line of stdout is the run directory (of a sweep: <runs_dir>/<name>).

    Exits with 0; with 1 after an error, printed in one line (in full with HYDRA_FULL_ERROR=1), the other members of a
    sweep having run; with 130 or 143 after Ctrl-C or SIGTERM, everything checkpointed.
    """
    full = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else hydra prints errors itself, over many lines
    sys.path.insert(0, os.getcwd())  # the user's own modules
    outcome = Outcome()
    try:
        _application(outcome)()
        outcome.train_fused()
    except KeyboardInterrupt as stop:
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))
    except Exception as error:
        outcome.fail(error)
    if outcome.errors and full:
        raise outcome.errors[0]
    if outcome.errors:
        sys.exit(1)
    if outcome.directory is not None:  # hydra's own --help and --cfg train nothing
        print(outcome.directory)


@dataclass
class Outcome:
    """What hydra's jobs have come to: the directory to print, what went wrong, and members of fused sweeps to train."""

    directory: Path | None = None
    errors: list[Exception] = field(default_factory=list)
    fused: list[dict] = field(default_factory=list)

    def train_fused(self) -> None:
        """Train the members that wait, all of one configuration but for alpha together."""
        groups: dict[str, list[dict]] = {}
        for config in self.fused:
            groups.setdefault(canonical(config | {"alpha": 1}), []).append(config)
        for configs in groups.values():
            try:
                runs, errors = train_together(configs)
                self.directory = runs[0].path.parent
            except Exception as error:
                errors = {config["alpha"]: error for config in configs[:1]}
            for alpha, error in errors.items():
                self.fail(error, f"alpha={alpha:g}")

    def fail(self, error: Exception, overrides: str = "") -> None:
        """Report ``error`` in one line and keep it."""
        where = f"{overrides} failed: " if overrides else ""
        print(f"lazytorch: {where}{one_line(error)}", file=sys.stderr)
        self.errors.append(error)


def _application(outcome: Outcome):
    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def application(cfg: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        is_sweep = hydra_config.mode == RunMode.MULTIRUN
        # An error raised here would have hydra print a second line, and is no reason to stop a sweep.
        try:
            config = resolve(cfg, hydra_config.runtime.choices, hydra_config.overrides.task)
            if is_sweep and config.get("sweep", {}).get("fused"):
                _check_launcher(hydra_config.launcher)
                outcome.fused.append(config)
                return
            done = run(config)
        except Exception as error:
            outcome.fail(error, " ".join(hydra_config.overrides.task) if is_sweep else "")
        else:
            outcome.directory = done.path.parent if is_sweep else done.path

    return application


def _check_launcher(launcher) -> None:
    if not launcher._target_.endswith("BasicLauncher"):
        raise ValueError(
            f"sweep.fused=true trains its members in one process, which {launcher._target_} does not: "
            f"use hydra/launcher=basic, or sweep.fused=false"
        )


def resolve(cfg: DictConfig, choices, overrides=()) -> dict:
    """The configuration as plain values, with the run's name and alpha as a number.

    ``overrides`` are those of the command line: a kind of run that is no training run is left with the keys it reads.

    Raises:
        ValueError: a value that must be given is not, a key is given that nothing reads, or alpha is no number.
    """
    kind = find_kind(cfg.get("kind"))
    _check_keys(cfg, kind)
    if kind is not None:
        _check_overrides(kind, cfg.kind, overrides)
    try:
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise ValueError(f"{error.full_key} is not given: set it, as in {error.full_key}=...") from None
    config["name"] = str(config["name"] or _default_name(choices))
    if config["name"] in (".", "..") or Path(config["name"]).name != config["name"]:
        raise ValueError(
            f"name={config['name']} is not the name of a folder: leave out slashes, and use runs_dir for paths"
        )
    if kind is not None:
        return kind.select(config)
    config["alpha"] = read_alpha(config["alpha"])
    return config


def _check_keys(cfg: DictConfig, kind: Kind | None) -> None:
    """hydra lets +key=value add any key: only the model and the loss take keys that the shipped files do not have."""
    shipped = OmegaConf.load(CONF / "config.yaml")
    data = OmegaConf.load(CONF / "data" / "digits.yaml")
    known = {str(key) for key in shipped} | {"model", "data"}
    known |= {f"{group}.{key}" for group in ("optimizer", "schedule", "sweep") for key in shipped[group]}
    known |= {f"data.{key}" for key in data} | (kind.keys if kind else set())
    given = [str(key) for key in cfg] + [
        f"{group}.{key}" for group in ("optimizer", "schedule", "sweep", "data") for key in cfg[group]
    ]
    for key in given:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            raise ValueError(f"nothing reads the key {key}: remove it" + (f", or use {close[0]}" if close else ""))


def _check_overrides(kind: Kind, name: str, overrides) -> None:
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.key_or_group
        if key != "experiment" and not kind.reads(key):
            raise ValueError(f"runs of kind {name} do not read the key {key}: remove it")


def _default_name(choices) -> str:
    return choices.get("experiment") or f"{choices['model']}-{choices['data']}"


def one_line(error: BaseException) -> str:
    """The message of ``error`` without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    main()
