"""The command line as users run it, in this process: what is printed, where, and the exit code."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import lazytorch as lt
from lazytorch.runs import RunDirectory

FAST = ["model=mlp", "model.width=16", "epochs=1", "data.train_size=40", "data.test_size=20", "probe_size=2"]


def test_a_run(lazytorch, tmp_path):
    code, out, err = lazytorch(*FAST, "alpha=10")
    assert code == 0 and len(out) == 1
    run = Path(out[-1])
    assert run.parent == Path("runs/mlp-digits") and "epoch 1" in err
    assert {p.name for p in run.iterdir() if not p.name.startswith(".")} == {
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
        "checkpoints",
        "tensorboard",
    }
    assert [p.name for p in tmp_path.iterdir()] == ["runs"]  # nothing else is left in the current directory
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["alpha"] == 10 and config["versions"]["torch"] == torch.__version__
    assert config["data_fingerprint"]["train_size"] == 40
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


def test_a_sweep_skips_what_is_done_and_goes_on_when_asked_for_more(lazytorch):
    code, out, _ = lazytorch("-m", *FAST, "alpha=1,1e7,inf")
    assert code == 0 and out == ["runs/mlp-digits"]
    runs = [p for p in Path(out[0]).iterdir()]
    alphas = {RunDirectory(p).summary["alpha"] for p in runs}
    assert alphas == {1.0, 1e7, "inf"}
    before = {p: (p / "metrics.jsonl").read_bytes() for p in runs}
    code, out, err = lazytorch("-m", *FAST, "alpha=1,1e7,.inf", "device=cpu")
    assert code == 0 and err.count("is done (finished)") == 3
    assert {p: (p / "metrics.jsonl").read_bytes() for p in runs} == before
    code, out, err = lazytorch(*FAST, "alpha=1e7", "epochs=2")
    assert code == 0 and "goes on from epoch 1" in err
    assert [row["epoch"] for row in RunDirectory(out[-1]).metrics] == [0, 1, 2]
    code, out, err = lazytorch(*FAST, "alpha=1e7", "resume=false")
    assert [row["epoch"] for row in RunDirectory(out[-1]).metrics] == [0, 1]


def test_a_failed_member_is_reported_and_the_others_run(lazytorch):
    code, _, err = lazytorch("-m", *FAST, "alpha=1,0,inf")
    assert code == 1
    assert {RunDirectory(p).summary["alpha"] for p in Path("runs/mlp-digits").iterdir()} == {1.0, "inf"}
    assert "alpha=0" in err and "failed: alpha must be in (0, inf]" in err
    assert "Traceback" not in err


def test_a_fused_sweep_is_the_sweep(lazytorch):
    def measured(runs):
        runs = [RunDirectory(path) for path in Path(runs, "mlp-digits").iterdir()]
        rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in run.metrics] for run in runs]
        return {run.path.name: row for run, row in zip(runs, rows, strict=True)}

    arguments = ("-m", *FAST, "alpha=1,1e7,inf", "seed=0,1", "precision=float64")
    code, out, err = lazytorch(*arguments, "sweep.fused=true", "runs_dir=fused")
    assert code == 0 and out == ["fused/mlp-digits"] and "3 alphas" in err
    assert lazytorch(*arguments, "runs_dir=apart")[0] == 0
    assert measured("fused") == measured("apart") and len(measured("fused")) == 6
    code, out, err = lazytorch(*arguments, "sweep.fused=true", "runs_dir=fused")
    assert code == 0 and out == ["fused/mlp-digits"] and err.count("is done (finished)") == 6


LOGGAMMA = """
import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))

    def forward(self, x):
        return torch.lgamma(2 + super().forward(x) ** 2)
"""


def test_a_member_that_cannot_begin_leaves_a_fused_sweep(lazytorch, tmp_path):
    (tmp_path / "loggamma.py").write_text(LOGGAMMA)
    fast = [key for key in FAST if not key.startswith("model")]
    arguments = ("-m", *fast, "model=custom", "model._target_=loggamma.Net", "alpha=1,inf,.inf", "sweep.fused=true")
    code, _, err = lazytorch(*arguments)
    assert code == 1 and "alpha=1 failed: operator aten.lgamma" in err
    (run,) = map(RunDirectory, Path("runs/custom-digits").iterdir())
    assert run.summary["alpha"] == "inf" and run.summary["status"] == "finished"


def test_divergence_is_exit_code_0(lazytorch):
    code, out, _ = lazytorch(*FAST, "optimizer.lr=1e15", "epochs=3")
    assert code == 0 and RunDirectory(out[-1]).summary["status"] == "diverged"


def test_the_run_can_be_loaded(lazytorch):
    _, out, _ = lazytorch(*FAST, "alpha=100", "precision=float64")
    model = lt.load_run(out[-1])
    assert isinstance(model, lt.CenteredModel) and model.alpha == 100 and not model.training
    summary = RunDirectory(out[-1]).summary
    assert model.displacement() == pytest.approx(summary["displacement"])
    _, out, _ = lazytorch(*FAST, "alpha=inf")
    assert lt.load_run(out[-1]).alpha == math.inf


def test_the_users_own_module_and_loss(lazytorch, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n\n"
        "class Net(torch.nn.Sequential):\n"
        "    def __init__(self, depth=1):\n"
        "        layers = [torch.nn.Linear(64, 64) for _ in range(depth)]\n"
        "        super().__init__(torch.nn.Flatten(), *layers, torch.nn.Linear(64, 10))\n\n"
        "def loss(outputs, labels):\n"
        "    return torch.nn.functional.multi_margin_loss(outputs, labels)\n"
    )
    own = [k for k in FAST if not k.startswith("model")]
    code, out, err = lazytorch(
        *own,
        "model=custom",
        "model._target_=mine.Net",
        "+model.depth=3",
        "+loss._target_=mine.loss",
        "optimizer.lr=0.01",
    )
    assert code == 0, err
    assert sum(name.endswith("weight") for name in lt.load_run(out[-1]).theta) == 4


def folder(root, broken=None):
    for part in ("train", "test"):
        for index, name in enumerate(("ant", "bee", "cat")):
            (root / part / name).mkdir(parents=True)
            for k in range(4):
                path = root / part / name / f"{k}.png"
                Image.new("RGB", (8, 8), (80 * index, 20 * k, 5)).save(path)
    if broken:
        (root / broken).write_bytes(b"not an image")


def test_an_image_folder(lazytorch, tmp_path):
    folder(tmp_path / "set")
    fast = [k for k in FAST if not k.startswith("data")]
    code, out, err = lazytorch(*fast, "data=images", "data.root=set", "data.augment=flip")
    assert code == 0, err
    assert RunDirectory(out[-1]).config["data_fingerprint"]["classes"] == 3


BAD = {
    "alpha 0": (["alpha=0"], "alpha must be in (0, inf]"),
    "alpha negative": (["alpha=-3"], "alpha must be in (0, inf]"),
    "alpha nan": (["alpha=nan"], "nan"),
    "alpha no number": (["alpha=large"], "alpha is 'large'"),
    "unknown key": (["alhpa=3"], "alhpa"),
    "unknown nested key": (["optimizer.lrr=3"], "lrr"),
    "added key": (["+epoch=3"], "nothing reads the key epoch: remove it, or use epochs"),
    "added nested key": (["+optimizer.weight_decay=0.5"], "nothing reads the key optimizer.weight_decay"),
    "epochs 0": (["epochs=0"], "epochs must be a positive integer"),
    "name": (["name=../elsewhere"], "name=../elsewhere is not the name of a folder"),
    "beta": (["schedule.beta=-1"], "beta must be in [0, inf)"),
    "std 0": (["data.std=[0]"], "is not positive"),
    "no loss": (["loss=null"], "loss is None"),
    "class as loss": (["~loss", "+loss._target_=torch.nn.MSELoss"], "name a function"),
    "seed": (["seed=a"], "seed must be a non-negative integer"),
    "unknown choice": (["model=vgg99"], "vgg99"),
    "missing folder": (["data=images", "data.root=nowhere"], "nowhere"),
    "no root": (["data=cifar10"], "data.root is not given: set it"),
    "no cuda": (["device=cuda"], "device=cuda"),
    "unknown device": (["device=abacus"], "unknown device 'abacus'"),
    "subset too large": (["data.train_size=100000"], "100000"),
    "lr": (["optimizer.lr=-1"], "lr must be positive"),
    "precision": (["precision=float8"], "unknown precision 'float8'"),
    "loss": (["loss=hinge"], "unknown loss 'hinge'"),
    "os.system": (["model=custom", "model._target_=os.system", "+model.command=ls"], "os.system is neither"),
    "no such module": (["model=custom", "model._target_=absent.Net"], "no module named 'absent'"),
    "wrong number of classes": (
        ["model=custom", "model._target_=torch.nn.Flatten"],
        "the network maps 2 images to (2, 64), but the data has 10 classes",
    ),
    "no parameters": (["model=custom", "model._target_=tests_cli_module.Empty"], "no trainable parameters"),
    "operator without a rule": (["model=custom", "model._target_=tests_cli_module.Odd"], "aten.lgamma"),
    "checkpoint missing": (["resume=there/is/none.pt"], "there/is/none.pt does not exist"),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="device=cuda is no error where there is one")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(lazytorch, tmp_path, case):
    (tmp_path / "tests_cli_module.py").write_text(
        "import torch\n\n"
        "class Empty(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.new_zeros(len(x), 10)\n\n"
        "class Odd(torch.nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(64, 10)\n"
        "    def forward(self, x):\n"
        "        return torch.lgamma(super().forward(x.flatten(1)))\n"
    )
    arguments, message = BAD[case]
    code, out, err = lazytorch(*arguments)
    lines = [line for line in err.splitlines() if line.strip()]
    assert code == 1 and out == []
    assert len(lines) == 1 and lines[0].startswith("lazytorch: ") and message in lines[0]
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix in (".yaml", ".json", ".jsonl", ".pt")]


def test_a_corrupt_image_is_named(lazytorch, tmp_path):
    folder(tmp_path / "set", broken="train/bee/2.png")
    code, _, err = lazytorch("data=images", "data.root=set", "model=mlp")
    assert code == 1 and "set/train/bee/2.png" in err and len(err.strip().splitlines()) == 1


class Foreign:
    def __reduce__(self):
        return (print, ("this ran",))


@pytest.mark.parametrize("damage", ("truncated", "foreign pickle", "other configuration", "other model"))
def test_damaged_or_foreign_checkpoints_are_refused(lazytorch, damage):
    _, out, _ = lazytorch(*FAST, "alpha=10")
    path = Path(out[-1]) / "checkpoints" / "last.pt"
    again = [*FAST, "alpha=10", "epochs=2"]
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "foreign pickle":
        torch.save({"model": Foreign(), "settings": {}}, path)
    elif damage == "other configuration":
        _, other, _ = lazytorch(*FAST, "alpha=20")
        path.write_bytes((Path(other[-1]) / "checkpoints" / "last.pt").read_bytes())
    else:
        again = [*FAST, "alpha=10", "model.width=17", f"resume={path}"]
    code, out, err = lazytorch(*again)
    assert code == 1 and out == []
    lines = [line for line in err.splitlines() if line.startswith("lazytorch: ")]
    assert len(lines) == 1 and "checkpoint" in lines[0] and "this ran" not in err
    remedy = {"other model": "of another model", "other configuration": "alpha: 20.0 there, 10.0 here"}
    assert remedy.get(damage, "resume=false") in lines[0]


def test_starts_from_another_runs_checkpoint(lazytorch):
    _, out, _ = lazytorch(*FAST, "alpha=10")
    path = Path(out[-1]) / "checkpoints" / "last.pt"
    code, out, err = lazytorch(*FAST, "alpha=10", "epochs=3", "optimizer.lr=0.01", f"resume={path}")
    assert code == 0, err
    assert [row["epoch"] for row in RunDirectory(out[-1]).metrics] == [2, 3]


def test_hydras_own_questions_print_no_run(lazytorch):
    code, out, _ = lazytorch("--cfg", "job")
    assert code == 0 and "alpha: 1" in out and "None" not in out[-1]


def test_other_data_is_refused_for_a_finished_run_too(lazytorch, tmp_path):
    fast = [k for k in FAST if not k.startswith("data")] + ["data=images"]
    folder(tmp_path / "set"), folder(tmp_path / "same"), folder(tmp_path / "other")
    _, out, _ = lazytorch(*fast, "data.root=set")
    assert lazytorch(*fast, "data.root=same")[:2] == (0, out)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "other/train/ant/0.png")
    code, _, err = lazytorch(*fast, "data.root=other")
    assert code == 1 and "resume=false" in err
    assert lazytorch(*fast, "data.root=nowhere")[0] == 1


def test_other_data_is_refused(lazytorch, tmp_path):
    fast = [k for k in FAST if not k.startswith("data")] + ["data=images", "data.root=set"]
    folder(tmp_path / "set")
    lazytorch(*fast)
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "set/train/ant/0.png")
    code, _, err = lazytorch(*fast, "epochs=2")
    assert code == 1 and "resume=false" in err
