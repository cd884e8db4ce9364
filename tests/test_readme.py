"""The README's code runs and its commands compose."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from lazytorch import cli
from lazytorch.reports.cli import main as report

README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]
RUNS = [shlex.split(line, comments=True)[1:] for line in COMMANDS if line.startswith("lazytorch ")]


def test_the_python_code_runs():
    namespace = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, "README.md", "exec"), namespace)


@pytest.mark.parametrize("arguments", RUNS, ids=" ".join)
def test_the_commands_compose(arguments):
    overrides = [re.sub(r"=([^,]+),.*", r"=\1", argument) for argument in arguments if argument != "-m"]
    with initialize_config_dir(str(cli.CONF.resolve()), version_base="1.3"):
        assert compose("config", overrides)["runs_dir"] == "runs"


def test_every_command_is_one_that_exists():
    known = {"scripts/quickstart", "scripts/test", "lazytorch", "lazytorch-report", "pip", "tensorboard", "docker"}
    assert {line.split()[0] for line in COMMANDS if line.strip()} <= known
    with pytest.raises(SystemExit) as stop:
        report(["--help"])
    assert stop.value.code == 0


def test_its_figures_exist_and_are_small():
    figures = [Path(__file__).parents[1] / path for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)]
    assert figures
    for figure in figures:
        assert 0 < figure.stat().st_size < 200_000
