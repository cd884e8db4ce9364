"""The README's code runs, and every key of its commands is read."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from hydra import compose as compose_configuration
from hydra import initialize_config_dir

from lazytorch import cli
from lazytorch.experiments.compose import compose
from lazytorch.reports.cli import main as report

CHECKOUT = Path(__file__).parents[1]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()]
RUNS = [shlex.split(line, comments=True)[1:] for line in COMMANDS if line.startswith("lazytorch ")]


def test_the_python_code_runs():
    namespace = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, "README.md", "exec"), namespace)


def experiment(arguments):
    """What a command runs, a sweep's first member."""
    # Commas outside brackets separate the values of a sweep.
    first = [re.sub(r"^([^=\[{]+=[^,\[{]+),.*", r"\1", argument) for argument in arguments if argument != "-m"]
    with initialize_config_dir(str(cli.CONF.resolve()), version_base="1.3"):
        return compose(compose_configuration("config", first), "name")


@pytest.mark.parametrize("arguments", [run for run in RUNS if "--config-dir" not in run], ids=" ".join)
def test_the_commands_are_experiments(arguments):
    experiment(arguments).check()


def test_a_key_that_nothing_reads_would_not_pass():
    with pytest.raises(ValueError, match="reads no key"):
        experiment(["+epoch=3"])


def test_every_command_is_one_that_exists():
    known = {"scripts/quickstart", "scripts/test", "lazytorch", "lazytorch-report", "pip", "tensorboard", "docker"}
    assert {line.split()[0] for line in COMMANDS if line.strip()} <= known
    with pytest.raises(SystemExit) as stop:
        report(["--help"])
    assert stop.value.code == 0


def test_its_figures_exist_and_are_small():
    figures = [CHECKOUT / path for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)]
    assert figures
    for figure in figures:
        assert 0 < figure.stat().st_size < 200_000


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert links and [link for link in links if not (CHECKOUT / link).exists()] == []


def test_the_pages_of_declarations_are_of_the_present_code():
    script = CHECKOUT / "scripts" / "document_declarations.py"
    spec = importlib.util.spec_from_file_location("document_declarations", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, write in module.PAGES.items():
        assert (CHECKOUT / "docs" / name).read_text(encoding="utf-8") == write(), f"run {script.name}"
