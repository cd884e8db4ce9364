import sys

import pytest
import torch

from lazytorch.models import custom, torchvision_model

SOURCE = """
import torch

class Net(torch.nn.Linear):
    def __init__(self, width, depth=2):
        super().__init__(width, depth)

class Outer:
    pass

def build(width: int, *, scale: "float" = 1.0) -> "torch.nn.Module":
    return torch.nn.Linear(width, 1)

def hidden(width) -> "Unknown":
    return torch.nn.Linear(width, 1)

def misspelt(width) -> "torch.nn.Modul":
    return torch.nn.Linear(width, 1)

def plain(width):
    return torch.nn.Linear(width, 1)

def liar() -> torch.nn.Module:
    return 3

net = torch.nn.Linear(1, 1)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current directory, with a module of nets in a package, gone from sys.modules afterwards."""
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(SOURCE)
    (package / "lacking.py").write_text("import absent_dependency")
    (package / "broken.py").write_text("raise KeyError('two\\nlines')")
    (package / "leaving.py").write_text("raise SystemExit(3)")
    (package / "garbled.py").write_text("def f(:")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "own_package"]:
        del sys.modules[name]


def test_class_and_function_of_the_current_directory(here):
    path = list(sys.path)
    net = custom("own_package.nets.Net", width=3, depth=4)
    assert type(net).__name__ == "Net" and net.weight.shape == (4, 3)
    assert custom("own_package.nets.build", width=3).weight.shape == (1, 3)
    assert sys.path == path


def test_installed_targets():
    assert custom("torch.nn.Linear", in_features=3, out_features=2).weight.shape == (2, 3)
    assert type(custom("torchvision.models.resnet18", num_classes=3)).__name__ == "ResNet"


@pytest.mark.parametrize("target", ["os.system", "builtins.exec", "subprocess.Popen", "math.pi", "os.getcwd"])
def test_other_targets_are_refused_before_they_are_called(target, capfd):
    with pytest.raises(TypeError, match=f"{target} is neither an nn.Module subclass .*: annotate") as caught:
        custom(target, command="echo called")
    assert "\n" not in str(caught.value) and "called" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("target", "keys", "kind", "parts"),
    [
        ("Net", {}, ValueError, ["'Net' is not a dotted path", "my.module.Net"]),
        ("own_package.nets.Nett", {}, ValueError, ["has no 'Nett'"]),
        ("sys.absent", {}, ValueError, ["has no 'absent'"]),
        ("own_package.absent.Net", {}, ValueError, ["no module named 'own_package.absent'", "install it"]),
        ("absent_package.Net", {}, ValueError, ["no module named 'absent_package'"]),
        ("own_package.nets.Net.inner", {}, ValueError, ["no module named 'own_package.nets.Net'"]),
        ("own_package.lacking.Net", {}, RuntimeError, ["imports 'absent_dependency'", "install it"]),
        ("own_package.broken.Net", {}, RuntimeError, ["own_package.broken", "KeyError"]),
        ("own_package.leaving.Net", {}, RuntimeError, ["own_package.leaving", "SystemExit"]),
        ("own_package..Net", {}, ValueError, ["'own_package..Net' is not a dotted path"]),
        ("own_package.nets.misspelt", {}, TypeError, ["neither", "-> torch.nn.Module"]),
        ("own_package.garbled.Net", {}, RuntimeError, ["own_package.garbled", "SyntaxError"]),
        ("own_package.nets.Outer", {}, TypeError, ["neither", "annotate"]),
        ("own_package.nets.plain", {}, TypeError, ["neither", "-> torch.nn.Module"]),
        ("own_package.nets.hidden", {}, TypeError, ["neither", "-> torch.nn.Module"]),
        ("own_package.nets.net", {}, TypeError, ["neither"]),
        ("own_package.nets.liar", {}, TypeError, ["returned a int"]),
        ("own_package.nets.Net", {"width": 1, "dept": 2}, TypeError, ["'dept'", "accepts: width, depth"]),
        ("own_package.nets.Net", {}, TypeError, ["missing", "'width'", "accepts: width, depth"]),
        ("own_package.nets.build", {"width": 1, "size": 2}, TypeError, ["'size'", "accepts: width, scale"]),
    ],
)
def test_faults_are_named_in_one_line(here, target, keys, kind, parts):
    with pytest.raises(kind) as caught:
        custom(target, **keys)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in [target.rpartition(".")[0], *parts]), message


def test_torchvision_by_name():
    net = torchvision_model("squeezenet1_1", classes=7, dropout=0.0)
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 7)
    assert net.classifier[0].p == 0.0


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_one_channel_is_the_grey_image_thrice(name):
    torch.manual_seed(0)
    colour = torchvision_model(name, classes=4).double().eval()
    torch.manual_seed(0)
    grey = torchvision_model(name, classes=4, channels=1).double().eval()
    x = torch.randn(2, 1, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(grey(x), colour(x.expand(-1, 3, -1, -1)))


def test_unknown_torchvision_names_list_close_matches():
    with pytest.raises(ValueError, match=r"no classifier 'resnet19': choose one such as .*resnet18"):
        torchvision_model("resnet19")
    with pytest.raises(ValueError, match="no classifier 'fasterrcnn_resnet50_fpn'"):
        torchvision_model("fasterrcnn_resnet50_fpn")


def test_wrong_torchvision_options():
    with pytest.raises(TypeError, match=r"resnet18 refuses its options: .*'depth'"):
        torchvision_model("resnet18", depth=3)
    with pytest.raises(ValueError, match="3 channels or 1, got 2"):
        torchvision_model("resnet18", channels=2)
