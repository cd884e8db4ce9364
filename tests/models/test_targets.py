import inspect
import math
import sys

import pytest

from lazytorch import models
from lazytorch.models import find_target, signature_defaults


def test_anything_with_a_dotted_path_is_found():
    assert find_target("math.pi") is math.pi
    assert find_target("os.path.join") is __import__("os").path.join
    assert find_target("lazytorch.models.vgg11") is models.vgg11


def test_the_current_directory_is_importable(tmp_path, monkeypatch):
    (tmp_path / "own_losses.py").write_text("def hinge(outputs, labels): return 1")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    try:
        assert find_target("own_losses.hinge", "loss._target_")(0, 0) == 1
    finally:
        sys.modules.pop("own_losses", None)
    assert sys.path == path


@pytest.mark.parametrize("target", ["hinge", "", ".hinge", "math.", "math..pi", "math.pi()", "my module.f", None, 3])
def test_what_is_no_dotted_path_is_refused(target):
    with pytest.raises(ValueError, match=r"^loss\._target_ .* is not a dotted path: write module\.Name"):
        find_target(target, "loss._target_")


def test_errors_say_what_is_wrong_with_what():
    with pytest.raises(ValueError, match=r"module math has no 'pie': correct the probe math\.pie"):
        find_target("math.pie", "probe")
    with pytest.raises(ValueError, match="probe: no module named 'absent_package': install it"):
        find_target("absent_package.Probe", "probe")
    with pytest.raises(ValueError, match="no module named 'math.pi'"):  # nested names are none of a module
        find_target("math.pi.real", "probe")


def test_defaults_are_the_builders():
    assert signature_defaults("lazytorch.models.vgg11") == {"width": 1.0, "classes": 10, "channels": 3, "gain": 1.0}
    assert signature_defaults("lazytorch.models.torchvision_model") == {"classes": 10, "channels": 3}
    for name in set(models.__all__) - {"custom"}:
        for key, value in signature_defaults(f"lazytorch.models.{name}").items():
            assert inspect.signature(getattr(models, name)).parameters[key].default == value


@pytest.mark.parametrize("target", ["lazytorch.models.custom", "lazytorch.models.absent", "antigravity.Net", "vgg11"])
def test_other_targets_have_no_defaults_and_are_not_imported(target):
    assert signature_defaults(target) == {}
    assert "antigravity" not in sys.modules
