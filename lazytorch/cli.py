"""The command line: a hydra application over ``conf/``."""

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

PACKAGED = Path(__file__).parent / "conf"
CONF = PACKAGED if PACKAGED.is_dir() else Path(__file__).parents[1] / "conf"


def main() -> None:
    """Run ``lazytorch``; the last line of stdout is the run directory (of a sweep: <runs_dir>/<name>).

    Exits with 0; with 1 after an error, printed in one line (in full with HYDRA_FULL_ERROR=1); with 130 or 143 after
    Ctrl-C or SIGTERM, everything checkpointed.
    """
    full = "HYDRA_FULL_ERROR" in os.environ
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else hydra prints errors itself, over many lines
    sys.path.insert(0, os.getcwd())  # the user's own modules
    printed: list[Path] = []
    try:
        _application(printed)()
    except KeyboardInterrupt as stop:
        sys.exit(128 + (stop.args[0] if stop.args and isinstance(stop.args[0], int) else 2))
    except Exception as error:
        if full:
            raise
        print(f"lazytorch: {one_line(error)}", file=sys.stderr)
        sys.exit(1)
    if printed:
        print(printed[-1])


def _application(printed: list[Path]):
    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
    def application(cfg: DictConfig) -> None:
        from .experiments import train  # torch is not needed to say what is wrong with the configuration

        hydra_config = HydraConfig.get()
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        config["name"] = config["name"] or _default_name(hydra_config.runtime.choices)
        config["alpha"] = read_number(config["alpha"])
        is_sweep = hydra_config.mode == RunMode.MULTIRUN
        if is_sweep:
            printed.append(Path(config["runs_dir"]) / config["name"])
        try:
            run = train(config)
        except Exception as error:
            # The other members of a sweep go on; hydra raises this error at the end.
            if is_sweep:
                print(f"lazytorch: {' '.join(hydra_config.overrides.task)} failed: {one_line(error)}", file=sys.stderr)
            raise
        if not is_sweep:
            printed.append(run.path)

    return application


def _default_name(choices) -> str:
    return choices.get("experiment") or f"{choices['model']}-{choices['data']}"


def read_number(value) -> float:
    """alpha from the command line, where inf and 1e7 may arrive as strings."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"alpha={value!r} is not a number: use one in (0, inf], such as 1, 1e7 or inf") from None


def one_line(error: BaseException) -> str:
    """The message of ``error`` without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    main()
