"""What importing the package loads, and that every public name is there when it is asked for."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lazytorch

LATER = ["tensorboard", "matplotlib", "sklearn", "torchvision", "scipy", "hydra", "omegaconf", "tqdm", "PIL"]
EXAMPLE = """
model = lazytorch.CenteredModel(torch.nn.Linear(3, 2), 10.0)
assert (model(torch.ones(1, 3)) == 0).all()
"""
WITHOUT_FCNTL = """
import sys

class Blocked:
    def find_spec(name, path=None, target=None):
        if name == "fcntl":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.modules.pop("fcntl", None)
sys.meta_path.insert(0, Blocked)
"""


def run(script):
    result = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_only_torch_is_loaded():
    """And what torch itself loads: by the import, the example of a user, and the names of three rooms."""
    uses = ["import lazytorch", EXAMPLE, "lazytorch.linearize; lazytorch.activation_stability; lazytorch.rule"]
    stages = "print(*set(sys.modules) - before)\n".join(f"{use}\n" for use in [*uses, ""])
    loaded = run(f"import sys, torch\nbefore = set(sys.modules)\n{stages}").splitlines()
    assert len(loaded) == len(uses)
    for names in map(str.split, loaded):
        assert "lazytorch" in names and not {name.partition(".")[0] for name in names} & set(LATER)


def test_it_imports_where_there_is_no_fcntl():
    """As on Windows: the rooms that lock files too."""
    rooms = "lazytorch.empirical_ntk; import lazytorch.runs, lazytorch.training, lazytorch.reports"
    run(f"{WITHOUT_FCNTL}\nimport torch, lazytorch\n{EXAMPLE}\n{rooms}")


def test_every_public_name_is_there():
    assert lazytorch.__all__ == sorted(lazytorch._HOMES)
    namespace: dict = {}
    exec("from lazytorch import *", namespace)
    for name in lazytorch.__all__:
        assert namespace[name] is getattr(lazytorch, name)
        assert name in dir(lazytorch)
    assert callable(lazytorch.laziness) and callable(lazytorch.theory.laziness)
    with pytest.raises(AttributeError, match="lazytorch.*CentredModel"):
        _ = lazytorch.CentredModel


def test_type_checkers_are_told_of_the_same_names():
    source = Path(lazytorch.__file__).read_text()
    block = source[source.index("if TYPE_CHECKING:") :].partition("__version__")[0]
    assert sorted(re.findall(r"\w+", " ".join(re.findall(r" import (.*)", block)))) == lazytorch.__all__
    assert Path(lazytorch.__file__).with_name("py.typed").exists()


def test_the_version_is_the_distributions(monkeypatch):
    installed = {"lazytorch-lab": "3.2.1", "lazytorch": "1.0"}

    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    for expected in ("3.2.1", "1.0", "0+unknown"):
        monkeypatch.delitem(vars(lazytorch), "__version__", raising=False)
        assert lazytorch.__version__ == expected
        installed.pop(next(iter(installed), None), None)
    monkeypatch.delitem(vars(lazytorch), "__version__")


USER_CODE = """
import math

import torch
import lazytorch as lt

net = torch.nn.Linear(3, 2)
x = torch.randn(8, 3)
model = lt.CenteredModel(net, alpha=1e7)
assert (model(x) == 0).all()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(x).sub(1).square().mean().backward()
optimizer.step()
model.alpha = math.inf
print(model.displacement() * 2, model.theta["weight"].grad, model.epsilon + 1)
plain = model.to_module().eval()
linear = lt.linearize(net, centered=False)
start = lt.SharedStart([lt.CenteredModel(net, alpha) for alpha in (1.0, 100.0, float("inf"))])
for output in start(x):
    output.sub(1).square().mean().backward()
stability = lt.activation_stability(net, model.initial_weights(), model.weights(torch.float64), x)
print(stability["overall"])
measured = lt.laziness(net, plain, (x,))
print(measured["verdict"].upper())
with model.observing(lambda name, before, after: print(name, (before == after).sum())):
    model(x)


@lt.rule(torch.ops.aten.square)
def square_rule(epsilon, out, x):
    return x.difference * (2 * x.primal + epsilon * x.difference)


print(lt.__version__ + "", lt.models, lt.theory.LinearDynamics, lt.Pair(x, x).primal)
"""


@pytest.mark.skipif(not shutil.which("pyright"), reason="needs pyright")
def test_a_type_checker_accepts_what_users_write(tmp_path):
    wrong = ['lt.CenteredModel(net, "7")', "lt.CentredModel", 'model.alpha = "7"']
    (tmp_path / "user.py").write_text(USER_CODE)
    (tmp_path / "wrong.py").write_text(USER_CODE + "\n".join(wrong))
    root = Path(lazytorch.__file__).parents[1]
    settings = {"extraPaths": [str(root)], "typeCheckingMode": "basic", "include": ["user.py", "wrong.py"]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = ["pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    errors = [each for each in result["generalDiagnostics"] if each["severity"] == "error"]
    first = len(USER_CODE.splitlines())
    assert [each["range"]["start"]["line"] for each in errors] == [first, first + 1, first + 2], errors
    assert all(each["file"].endswith("wrong.py") for each in errors)
