"""A run from the command line: what it leaves and prints, and that it is the library's."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import lazytorch as lt
from lazytorch.experiments import KernelSpectrum, LinearDynamics, Training
from lazytorch.experiments.fields import flat
from lazytorch.runs import RunDirectory

OWN = [argument for argument in ("epochs=2", "data.train_size=40", "data.test_size=20", "probe_size=2")]


def test_a_run(lazytorch, folder, tiny):
    code, out, err = lazytorch(*tiny, "alpha=1e7", "optimizer.lr=0.2")
    assert code == 0 and len(out) == 1
    run = Path(out[-1])
    assert run.parent == Path("runs/mlp-digits")
    label = "alpha=1e7,seed=0,model=mlp,width=16,train_size=40,test_size=20,lr=0.2"
    assert run.name.startswith(label) and re.fullmatch("[0-9a-f]{12}", run.name.rpartition("-")[2])
    records = {"config.yaml", "metrics.jsonl", "summary.json", "report.json", "checkpoints", "tensorboard"}
    assert {p.name for p in run.iterdir() if not p.name.startswith(".")} == records
    assert [p.name for p in folder.iterdir()] == ["runs"]  # nothing else is left in the current directory
    assert [p.name for p in (folder / "runs").iterdir()] == ["mlp-digits"]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["layout"] == 2 and config["_target_"] == "lazytorch.experiments.training.Training"
    assert config["alpha"] == 1e7 and config["versions"]["torch"] == torch.__version__
    assert config["changed"]["optimizer.lr"] == 0.2 and config["changed"]["seed"] == 0
    assert set(config["fingerprints"]) == {"train", "test", "network", "loss"}
    assert config["about"] == {
        "classes": 10,
        "channels": 1,
        "size": 8,
        "train_size": 40,
        "test_size": 20,
        "model": "Sequential",
    }
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["verdict"].startswith("lazy")
    assert json.loads((run / "report.json").read_text())["name"] == "Training"
    line = err.splitlines()[-1]
    assert line.startswith("lazytorch: finished in") and str(run) in line and summary["verdict"] in line
    assert f"test accuracy {100 * summary['test_accuracy']:.1f}%" in line


def test_a_log_has_at_most_a_line_an_epoch(lazytorch, tiny):
    code, _, err = lazytorch(*tiny, "epochs=20", "probes=[]")
    assert code == 0 and len(err.splitlines()) <= 20


def test_the_command_line_trains_as_the_library_does_and_starts_from_unmoved_statistics(lazytorch, folder):
    """Batch norm's statistics are those of w_0 before the first step; all numbers are the library's, bit for bit."""
    (folder / "mine.py").write_text(
        "from torch import nn\n\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2),"
        " nn.Linear(8, 10))\n\n"
        "def batches(model):\n"
        "    return {'batches': model.initial_buffers()['2.num_batches_tracked']}\n"
    )
    model = ["model=custom", "model._target_=mine.Net"]
    code, out, err = lazytorch(*OWN, *model, "probes=[displacement,mine.batches]", "alpha=10", "batch_size=16")
    assert code == 0, err
    run = RunDirectory(out[-1])
    assert [row["batches"] for row in run.metrics] == [0, 3, 6]

    import mine

    torch.manual_seed(0)
    net = mine.Net()
    images = [lt.data.balanced_subset, *lt.data.digits()]
    train, test = (part.select(images[0](part.labels, n, 0)) for part, n in zip(images[1:], (40, 20), strict=True))
    mean, std = lt.data.channel_statistics(train.images)
    sets = [lt.data.DeviceData(part.images, part.labels, mean=mean, std=std) for part in (train, test)]
    model = lt.CenteredModel(net, 10)
    summary = lt.Trainer(model, *sets, batch_size=16, probes=["displacement"]).fit(2)
    saved = torch.load(run.checkpoint("last"), weights_only=True)["model"]
    assert saved.keys() == model.state_dict().keys()
    torch.testing.assert_close(saved, dict(model.state_dict()), rtol=0, atol=0)
    same = {name: value for name, value in summary.items() if name != "seconds"}
    assert {name: value for name, value in run.summary.items() if name in same} == same


def test_parts_that_are_set_to_evaluation_mode_stay_so(lazytorch, folder):
    """A frozen dropout drops nothing: the run is that of the network without it, and frozen statistics do not move."""
    (folder / "mine.py").write_text(
        "from torch import nn\n\n"
        "class Plain(nn.Sequential):\n"
        "    def __init__(self, *frozen):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10), *frozen)\n"
        "        for part in frozen:\n"
        "            part.eval()\n\n"
        "class Frozen(Plain):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Dropout(0.5), nn.BatchNorm1d(10, eps=1e-30, affine=False))\n"
    )
    runs = {}
    for name in ("Plain", "Frozen"):
        code, out, err = lazytorch(*OWN, "model=custom", f"model._target_=mine.{name}", "probes=[]", f"name={name}")
        assert code == 0, err
        runs[name] = RunDirectory(out[-1])
    losses = [[row["train_loss"] for row in run.metrics] for run in runs.values()]
    assert losses[0] == losses[1] and len(losses[0]) == 3
    saved = torch.load(runs["Frozen"].checkpoint(), weights_only=True)["model"]
    tracked = [value for name, value in saved.items() if "num_batches_tracked" in name]
    assert tracked and not any(value.any() for value in tracked)


def test_the_users_own_module_loss_and_probes(lazytorch, folder):
    (folder / "mine.py").write_text(
        "import torch\n"
        "from lazytorch.quantities import Quantity\n"
        "from lazytorch.training import Probe\n\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self, depth=1):\n"
        "        layers = [torch.nn.Linear(64, 64) for _ in range(depth)]\n"
        "        super().__init__(torch.nn.Flatten(), *layers, torch.nn.Linear(64, 10))\n\n"
        "def loss(outputs, labels):\n"
        "    return torch.nn.functional.multi_margin_loss(outputs, labels)\n\n"
        "def norm(model):\n"
        "    return {'norm': model.theta_norm()}\n\n"
        "class Seen(Probe):\n"
        "    quantities = (Quantity('seen', 'how many inputs the probe was given'),)\n\n"
        "    def __call__(self, model):\n"
        "        return {'seen': len(self.x)}\n"
    )
    model = ["model=custom", "model._target_=mine.Net", "+model.depth=3", "optimizer.lr=0.01"]
    code, out, err = lazytorch(*OWN, *model, "+loss._target_=mine.loss", "probes=[displacement,mine.norm,mine.Seen]")
    assert code == 0, err
    run = RunDirectory(out[-1])
    measured = {"displacement", "norm", "seen"}
    assert measured <= set(run.summary) and measured <= set(run.metrics[-1])
    assert run.summary["norm"] > 0 and run.summary["seen"] == 2
    assert run.summary["ntk_drift"] is None and "linearization_error" not in run.metrics[-1]
    assert run.report["quantities"]["seen"]["meaning"] == "how many inputs the probe was given"
    net = lt.load_run(out[-1], trust=True)
    assert sum(name.endswith("weight") for name in net.theta) == 4


@pytest.mark.parametrize("probes", ("[]", "[ntk]", "[activations,displacement]"))
def test_any_subset_of_the_probes(lazytorch, tiny, probes):
    quantities = {"displacement": "displacement", "ntk": "ntk_drift", "activations": "activation_stability"}
    code, out, _ = lazytorch(*tiny, f"probes={probes}")
    summary = RunDirectory(out[-1]).summary
    for probe, quantity in quantities.items():
        assert (summary[quantity] is not None) == (probe in probes), quantity
    assert code == 0 and summary["linearization_error"] is None


def test_difference_is_a_key(lazytorch, tiny):
    """Two passes subtracted, in float64: the same training."""
    losses = {}
    for difference in ("divided", "direct"):
        arguments = ("precision=float64", "alpha=10", "probes=[displacement]", f"difference={difference}")
        code, out, err = lazytorch(*tiny, *arguments)
        assert code == 0, err
        losses[difference] = RunDirectory(out[-1]).summary["train_loss"]
    assert losses["divided"] == pytest.approx(losses["direct"], rel=1e-9) and len(set(losses.values())) == 2


def images(root):
    for part in ("train", "test"):
        for index, name in enumerate(("ant", "bee", "cat")):
            (root / part / name).mkdir(parents=True)
            for k in range(4):
                Image.new("RGB", (8, 8), (80 * index, 20 * k, 5)).save(root / part / name / f"{k}.png")


@pytest.mark.parametrize("name", ("set", "a set", "menge-ü", "one,two", "~/set"))
def test_an_image_folder_whatever_its_name(lazytorch, folder, tiny, monkeypatch, name):
    monkeypatch.setenv("HOME", str(folder / "home"))
    images(folder / name.replace("~", "home"))
    fast = [argument for argument in tiny if not argument.startswith("data")]
    code, out, err = lazytorch(*fast, "probes=[]", "data=images", f"data.root={name}", "data.augment=flip")
    assert code == 0, err
    assert RunDirectory(out[-1]).config["about"]["classes"] == 3


@pytest.mark.parametrize("name", ("my runs", "läufe", "~/runs"))
def test_runs_go_into_any_folder(lazytorch, folder, tiny, monkeypatch, name):
    monkeypatch.setenv("HOME", str(folder / "home"))
    code, out, err = lazytorch(*tiny, "probes=[]", f"runs_dir={name}")
    assert code == 0, err
    where = folder / name.replace("~", "home")
    assert RunDirectory(out[-1]).summary["status"] == "finished" and Path(out[-1]).resolve().is_relative_to(where)
    assert {path.name for path in folder.iterdir()} == {name.split("/")[0].replace("~", "home")}


def test_divergence_is_a_result(lazytorch, tiny):
    code, out, _ = lazytorch(*tiny, "optimizer.lr=1e15", "epochs=3", "probes=[]")
    assert code == 0 and RunDirectory(out[-1]).summary["status"] == "diverged"


def test_the_version(lazytorch):
    code, out, _ = lazytorch("--version")
    assert code == 0 and out[0].startswith(f"lazytorch {lt.__version__} ") and torch.__version__ in out[0]


@pytest.mark.parametrize(
    ("kind", "chosen"), ((Training, ()), (LinearDynamics, ("experiment=linear_dynamics",)), (KernelSpectrum, ()))
)
def test_the_help_has_every_key_with_what_it_means(lazytorch, kind, chosen):
    chosen = chosen or (("experiment=kernel_spectrum", "model=mlp") if kind is KernelSpectrum else ())
    code, out, _ = lazytorch("--help", *chosen)
    assert code == 0
    keys = dict(line.split("=", 1) for line in out if "=" in line and "  # " in line)
    for name, _, field in flat(kind()):
        if name != "model":
            assert field.metadata["meaning"] and keys[name].endswith(f"# {field.metadata['meaning']}")
    file = Path(lt.__file__).parents[1] / "conf" / "model" / "mlp.yaml"
    if "model=mlp" in chosen and file.exists():
        assert "units of a hidden layer" in keys["model.width"]
    assert "model._target_" in keys and keys["model._target_"].partition("# ")[2]
    assert not any(field in keys for field in ("epochs", "alpha")) or kind is Training
    assert any(line.startswith("experiment=figure3a") for line in out)


def test_hydras_own_questions_print_no_run(lazytorch, folder):
    code, out, _ = lazytorch("--cfg", "job")
    assert code == 0 and "alpha: 1" in out and "None" not in out[-1]
    assert list(folder.iterdir()) == []
