"""The example notebook: it runs, in a kernel as without one, and a training that is interrupted there goes on."""

import importlib.util
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from lazytorch.runs import RunDirectory

CHECKOUT = Path(__file__).parents[1]
NOTEBOOK = CHECKOUT / "docs" / "notebook.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = {cell["id"]: "".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def runs():
    return [RunDirectory(path) for path in sorted(Path("runs/notebook").iterdir())]


def test_it_is_small_and_holds_no_outputs():
    assert NOTEBOOK.stat().st_size < 100_000
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in CELLS)


def test_its_page_has_all_of_it():
    spec = importlib.util.spec_from_file_location("page", CHECKOUT / "scripts" / "site" / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert all("".join(cell["source"]) in module.pages()["notebook.md"] for cell in CELLS)


def test_its_code_runs(folder):
    namespace = {"__name__": "notebook"}
    for name, code in CODE.items():
        exec(compile(code, name, "exec"), namespace)
    shown = namespace["figure"].axes
    plt.close(namespace["figure"])
    assert [len(axes.lines) for axes in shown] == [5, 3]
    assert [run.summary["status"] for run in runs()] == ["finished"] * 5
    assert all(len(run.metrics) == namespace["epochs"] + 1 for run in runs())
    displacement = {run.config["alpha"]: run.summary["displacement"] for run in runs()}
    assert displacement[100] / displacement[1e4] == pytest.approx(100, rel=0.1)


@pytest.fixture
def kernel(folder, monkeypatch):
    """kernel(code) -> the outputs of a cell that is run in a kernel of this Python."""
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(CHECKOUT), *filter(None, sys.path)]))
    monkeypatch.setenv("LAZYTORCH_PROGRESS", "1")
    notebook = nbformat.v4.new_notebook()
    client = nbclient.NotebookClient(notebook, timeout=120, allow_errors=True, kernel_name="python3")

    def run(code):
        notebook.cells.append(nbformat.v4.new_code_cell(code))
        return client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1).outputs

    with client.setup_kernel():
        yield run


def sweep(epochs, folder="runs/notebook"):
    """The cell that trains, of fewer models and with other epochs."""
    alphas, number = re.compile(r"^alphas = .*$", re.MULTILINE), re.compile(r"^epochs = .*$", re.MULTILINE)
    code = number.sub(f"epochs = {epochs}", alphas.sub("alphas = [1.0, 1e4]", CODE["sweep"]))
    return code.replace("runs/notebook", folder)


def interrupt_once_measured(process):
    """Send what Jupyter's button sends, when both models have been trained for an epoch."""
    while not (Path("runs/notebook").is_dir() and [len(run.metrics) > 1 for run in runs()] == [True, True]):
        time.sleep(0.05)
    os.kill(process, signal.SIGINT)


def rows(folder):
    found = [RunDirectory(path).metrics for path in sorted(Path(folder).iterdir())]
    return [[{name: value for name, value in row.items() if name != "seconds"} for row in one] for one in found]


def test_an_interrupted_training_keeps_what_it_has_and_goes_on(kernel):
    for name in ("imports", "module", "probe"):
        assert kernel(CODE[name]) == []
    process = int(kernel("import os; print(os.getpid())")[0]["text"])
    button = threading.Thread(target=interrupt_once_measured, args=[process], daemon=True)
    button.start()
    *_, end = kernel(sweep(epochs=1000))
    button.join()
    assert (end["output_type"], end["ename"]) == ("error", "KeyboardInterrupt")
    assert [run.summary["status"] for run in runs()] == ["interrupted"] * 2
    assert any("image/png" in output.get("data", {}) for output in kernel(CODE["figure"]))
    before = rows("runs/notebook")
    epochs = 1 + len(before[0])
    outputs = kernel(sweep(epochs))
    assert [run.summary["status"] for run in runs()] == ["finished"] * 2
    kernel(sweep(epochs, "runs/whole"))
    after = rows("runs/notebook")
    assert after == rows("runs/whole") and [one[: len(two)] for one, two in zip(after, before, strict=True)] == before
    check_bar(outputs)


def check_bar(outputs):
    """One bar: a widget, or else lines, of which there are few."""
    widgets = [output for output in outputs if "application/vnd.jupyter.widget-view+json" in output.get("data", {})]
    said = "".join(output["text"] for output in outputs if output.get("name") == "stderr")
    if importlib.util.find_spec("ipywidgets"):
        assert len(widgets) == 1 and said == ""
    else:
        assert widgets == [] and "\r" not in said and len([line for line in said.splitlines() if "alpha=" in line]) == 2
