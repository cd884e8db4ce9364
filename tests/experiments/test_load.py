"""load_run: the trained model of a run directory, and what it refuses to import."""

import sys
from pathlib import Path

import pytest
import torch
import yaml

import lazytorch as lt
from lazytorch.experiments import Training, perform
from lazytorch.experiments.problem import Data
from lazytorch.runs import RunDirectory

MLP = {"_target_": "lazytorch.models.mlp", "width": 16, "hints": {"image_size": 10}}
DATA = Data(train_size=40, test_size=20, augment="flip", mean=[0.5], std=[0.5])


def train(folder, **fields):
    fields = {"model": MLP, "data": DATA, "epochs": 1, "probes": ("displacement",), "runs_dir": str(folder)} | fields
    return perform(Training(**fields))


@pytest.mark.parametrize(("alpha", "precision"), ((100.0, "float64"), (float("inf"), "float32")))
def test_the_model_and_the_data_are_the_runs(folder, alpha, precision):
    run = train(folder, alpha=alpha, precision=precision)
    model, train_set, test_set = lt.load_run(run.path, data=True)
    assert isinstance(model, lt.CenteredModel) and model.alpha == alpha and not model.training
    assert model.displacement() == run.summary["displacement"]
    fingerprints = {"train": train_set.fingerprint(), "test": test_set.fingerprint()}
    assert fingerprints == {name: run.config["fingerprints"][name] for name in fingerprints}
    assert (train_set.augment, test_set.augment, len(train_set), len(test_set)) == ("flip", "none", 40, 20)
    x, y = test_set.head(20)
    assert x.shape == (20, 1, 10, 10) and x.dtype == next(model.parameters()).dtype
    with torch.no_grad():
        outputs = model(x)
    assert (outputs.argmax(1) == y).double().mean().item() == run.summary["test_accuracy"]
    loss = (outputs - torch.nn.functional.one_hot(y, 10)).square().mean().item()
    assert loss == pytest.approx(run.summary["test_loss"], rel=1e-5)
    alone = lt.load_run(run.path)
    torch.testing.assert_close(dict(alone.state_dict()), dict(model.state_dict()), rtol=0, atol=0)


MODULE = """
from pathlib import Path
from torch import nn

Path("imported").touch()


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
"""


def test_a_strangers_module_is_neither_imported_nor_called(folder):
    (folder / "stranger.py").write_text(MODULE)
    run = train(folder, model={"_target_": "stranger.Net"}, data=Data(train_size=40, test_size=20))
    del sys.modules["stranger"]
    Path("imported").unlink()
    with pytest.raises(ValueError, match="stranger.Net, which is not lazytorch's own: give it, load_run.*trust=True"):
        lt.load_run(run.path)
    assert "stranger" not in sys.modules and not Path("imported").exists()
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    given, trusted = lt.load_run(run.path, net), lt.load_run(run.path, trust=True)
    assert Path("imported").exists()
    torch.testing.assert_close(dict(given.state_dict()), dict(trusted.state_dict()), rtol=0, atol=0)


TAMPERED = {
    "torchvision's weights": {"_target_": "torchvision.models.resnet18", "weights": "DEFAULT"},
    "torchvision's weights through ours": {
        "_target_": "lazytorch.models.torchvision_model",
        "name": "resnet18",
        "weights": "DEFAULT",
    },
    "a system's function": {"_target_": "os.system", "command": "touch called"},
    "ours that calls others": {"_target_": "lazytorch.models.custom", "target": "os.system"},
}


@pytest.mark.parametrize("case", TAMPERED)
def test_a_tampered_configuration_is_refused(folder, case, monkeypatch):
    run = train(folder)
    path = run.path / "config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(config | {"model": TAMPERED[case]}))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("it downloads"))
    with pytest.raises(ValueError, match="not lazytorch's own"):
        lt.load_run(run.path)
    assert not Path("called").exists()


def test_a_pickle_in_the_place_of_the_checkpoint_is_not_loaded(folder):
    run = train(folder)

    class Foreign:
        def __reduce__(self):
            return (pytest.fail, ("this ran",))

    torch.save({"model": Foreign()}, run.checkpoint())
    with pytest.raises(ValueError, match="not loaded for safety"):
        lt.load_run(run.path)


def test_what_is_missing_or_other_is_named(folder):
    run = train(folder)
    with pytest.raises(FileNotFoundError, match="nowhere holds no config.yaml"):
        lt.load_run("nowhere")
    with pytest.raises(FileNotFoundError, match="none.pt does not exist"):
        lt.load_run(run.path, name="none")
    with pytest.raises(ValueError, match="of another model"):
        lt.load_run(run.path, lt.models.mlp(width=17, channels=1, size=10))
    script = folder / "script"
    images = (torch.randn(20, 64), torch.arange(20) % 10)
    net = torch.nn.Linear(64, 10)
    lt.Trainer(lt.CenteredModel(net, 1.0), images, images, probes=(), run_dir=script).fit(1)
    with pytest.raises(ValueError, match="made by a script: give its network"):
        lt.load_run(script)
    assert lt.load_run(script, net).alpha == 1
    with pytest.raises(ValueError, match="made by a script, whose data it does not know"):
        lt.load_run(script, net, data=True)


def test_a_configuration_with_holes_is_named(folder):
    run = train(folder)
    path = run.path / "config.yaml"
    config = yaml.safe_load(path.read_text())
    for name in ("alpha", "seed", "about", "data"):
        path.write_text(yaml.safe_dump({key: value for key, value in config.items() if key != name}))
        with pytest.raises(ValueError, match=name):
            lt.load_run(run.path, data=True)
    path.write_text(yaml.safe_dump(config | {"data": {"name": "digits", "url": "x"}}))
    with pytest.raises(ValueError, match="url"):
        lt.load_run(RunDirectory(run.path).path, data=True)
