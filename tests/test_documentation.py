"""The code of README and documentation runs, every key of their commands is read, and their links lead somewhere."""

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose as compose_configuration
from hydra import initialize_config_dir

from lazytorch import cli
from lazytorch.experiments.compose import compose
from lazytorch.reports.cli import main as report

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
PAGES = {str(path.relative_to(CHECKOUT)): path for path in (CHECKOUT / "README.md", *sorted(DOCS.glob("*.md")))}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BLOCKS = {name: FENCE.findall(text) for name, text in TEXTS.items()}
KNOWN = {"lazytorch", "lazytorch-report", "torchrun", "pip", "tensorboard", "docker"}


def blocks(language):
    return {name: found for name in PAGES if (found := [code for kind, code in BLOCKS[name] if kind == language])}


COMMANDS = [line for lines in blocks("bash").values() for block in lines for line in block.splitlines() if line.strip()]

INLINE = [
    code for text in TEXTS.values() for code in re.findall(r"`((?:lazytorch|torchrun) [^`]+)`", FENCE.sub("", text))
]


def runs():
    """The arguments of each lazytorch command, of those in the text and those that torchrun starts too, once."""
    found = {}
    for line in [*COMMANDS, *INLINE]:
        words = [word for word in shlex.split(line, comments=True) if word != "..."]  # and so on
        if words[0] in ("lazytorch", "torchrun") and not {"--config-dir", "--help"} & {*words}:
            arguments = words[words.index("lazytorch") + 1 :]
            found[" ".join(arguments)] = arguments
    return found


@pytest.mark.parametrize("name", blocks("python"))
def test_the_python_code_runs(name):
    namespace = {}
    for block in blocks("python")[name]:
        exec(compile(block, name, "exec"), namespace)


def experiment(arguments):
    """What a command runs, a sweep's first member."""
    # Commas outside brackets separate the values of a sweep.
    first = [re.sub(r"^([^=\[{]+=[^,\[{]+),.*", r"\1", argument) for argument in arguments if argument != "-m"]
    with initialize_config_dir(str(cli.CONF.resolve()), version_base="1.3"):
        return compose(compose_configuration("config", first), "name")


@pytest.mark.parametrize("arguments", runs().values(), ids=runs())
def test_the_commands_are_experiments(arguments):
    experiment(arguments).check()


def test_a_key_that_nothing_reads_would_not_pass():
    with pytest.raises(ValueError, match="reads no key"):
        experiment(["+epoch=3"])


def test_every_command_is_one_that_exists():
    first = {line.split()[0] for line in COMMANDS}
    scripts = {word for word in first if word.startswith("scripts/")}
    assert first - scripts <= KNOWN
    assert {script for script in scripts if not (CHECKOUT / script).is_file()} == set()
    with pytest.raises(SystemExit) as stop:
        report(["--help"])
    assert stop.value.code == 0


def test_yaml_is_yaml():
    for found in blocks("yaml").values():
        assert all(yaml.safe_load(block) for block in found)


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 120


def test_figures_are_small():
    figures = list(DOCS.glob("*.png"))
    assert figures and [figure.name for figure in figures if not 0 < figure.stat().st_size < 200_000] == []


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    text = FENCE.sub("", TEXTS[name])
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith("http")]
    assert [link for link in links if not (PAGES[name].parent / link).exists()] == []


def loaded(script):
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_of_declarations_are_of_the_present_code():
    script = CHECKOUT / "scripts" / "document_declarations.py"
    for name, write in loaded(script).PAGES.items():
        assert (DOCS / name).read_text(encoding="utf-8") == write(), f"run {script.name}"


@pytest.fixture
def gallery(monkeypatch):
    monkeypatch.setitem(sys.modules, "roles", loaded(CHECKOUT / "scripts/site/roles.py"))
    return loaded(CHECKOUT / "scripts/site/gallery.py")


def test_every_experiment_has_its_page_in_the_gallery(gallery):
    names = sorted(file.stem for file in (CHECKOUT / "conf" / "experiment").glob("*.yaml"))
    pages = gallery.pages()
    assert list(pages) == ["gallery/index.md", *(f"gallery/{name}.md" for name in names)]
    for name in names:
        for command in gallery.commands(name):
            experiment(shlex.split(command, comments=True)[1:]).check()
        shown = re.findall(r"!\[[^]]*\]\(\.\./(.*?)\)", pages[f"gallery/{name}.md"])
        assert shown == [figure.name for figure in gallery.figures(name)]


def test_a_figure_is_of_the_experiment_with_the_longest_name(gallery):
    assert [figure.name for figure in gallery.figures("rates")] == ["rates.png"]
    assert gallery._owner("figure3a_accuracy") == "figure3a"
    assert gallery._owner("figure3a_grid_accuracy") == "figure3a_grid"
    assert gallery._owner("figure3apart") == ""
