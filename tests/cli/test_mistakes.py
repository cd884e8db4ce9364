"""Mistakes at the command line: one clear line that names the thing and the remedy, and nothing is left."""

import errno
import json
import os
from contextlib import contextmanager

import pytest
import torch

from lazytorch.runs import RunDirectory

DIRECT = ("difference=direct", "precision=float64")
SPECTRUM = "experiment=kernel_spectrum"
BAD = {
    "alpha 0": (["alpha=0"], "alpha must be in (0, inf]"),
    "alpha negative": (["alpha=-3"], "alpha must be in (0, inf]"),
    "alpha nan": (["alpha=nan"], "alpha must be in (0, inf]"),
    "alpha no number": (["alpha=large"], "alpha: value 'large' of type 'str' could not be converted to Float"),
    "alpha in another grammar": (["alpha=10^7"], "cannot read 'alpha=10^7': write numbers as 1e7"),
    "several values": (["alpha=1,10"], "alpha=1,10 has several values: add -m"),
    "misspelt key": (["aplha=10"], "Training reads no key aplha: remove it, or use alpha"),
    "key of a group": (["lr=0.1"], "Training reads no key lr: remove it, or use optimizer.lr"),
    "misspelt nested key": (["optimizer.lrr=3"], "Training reads no key optimizer.lrr: remove it, or use optimizer.lr"),
    "misspelt key of the model": (
        ["model.widht=3"],
        "no key model.widht: remove it, or use model.width",
    ),
    "added key": (["+epoch=3"], "Training reads no key epoch: remove it, or use epochs"),
    "added nested key": (["+optimizer.weight_decay=0.5"], "Training reads no key optimizer.weight_decay: remove it"),
    "added key of the model": (["model=mlp", "+model.dept=3"], "it has width, depth,"),
    "another experiment's key": ([SPECTRUM, "epochs=7"], "KernelSpectrum reads no key epochs: remove it"),
    "another experiment's added key": ([SPECTRUM, "+epochs=7"], "KernelSpectrum reads no key epochs: remove it"),
    "another experiment's group": (["steps=3"], "Training reads no key steps: remove it"),
    "null group": (["optimizer=null"], "optimizer is null: leave it out, or give it a value"),
    "null": (["alpha=null"], "alpha is null: leave it out, or give it a value"),
    "no loss": (["loss=null"], "loss is None"),
    "epochs 0": (["epochs=0"], "epochs must be at least 1, got 0"),
    "epochs no integer": (["epochs=1.5"], "epochs: value '1.5' of type 'float' could not be converted to Integer"),
    "true as a number": (["epochs=true"], "epochs: value 'True' of type 'bool' could not be converted to Integer"),
    "a list as a number": (["batch_size=[3]"], "batch_size"),
    "seed": (["seed=-1"], "seed must be at least 0"),
    "beta": (["schedule.beta=-1"], "schedule.beta must be at least 0"),
    "momentum": (["optimizer.momentum=1"], "optimizer.momentum must be at least 0 and below 1"),
    "lr": (["optimizer.lr=-1"], "optimizer.lr must be above 0"),
    "lr infinite": (["model=mlp", "optimizer.lr=inf"], "lr must be positive and finite"),
    "precision": (["precision=float8"], "unknown precision 'float8': choose one of float32"),
    "value for a group": (["optimizer=adam"], "optimizer.lr, optimizer.momentum: give these"),
    "difference": (["difference=none"], "unknown difference 'none': choose one of divided, direct"),
    "direct in float32": (["difference=direct"], "use precision=float64"),
    "direct compiled": (["compile=true", *DIRECT], "difference=direct has no program to compile"),
    "fused and compiled": (["compile=true", "sweep.fused=true"], "use sweep.fused=false"),
    "direct at infinity": (["model=mlp", "alpha=inf", *DIRECT], 'difference="direct" has no limit'),
    "loss": (["model=mlp", "loss=hinge"], "unknown loss 'hinge': choose one of"),
    "class as loss": (["model=mlp", "~loss", "+loss._target_=torch.nn.MSELoss"], "name a function (outputs, labels)"),
    "probe": (["model=mlp", "probes=[spectrum]"], "unknown probe 'spectrum': choose from activations, displacement"),
    "own probe": (["model=mlp", "probes=[os.system]"], "probe os.system is neither a lazytorch.training.Probe"),
    "a word as probes": (["probes=ntk"], "probes"),
    "name": (["name=../elsewhere"], "name=../elsewhere is not the name of a folder"),
    "resume": (["resume=3"], "resume=3: give true, false, or the path of a checkpoint"),
    "checkpoint missing": (["resume=there/is/none.pt"], "there/is/none.pt does not exist"),
    "choice": (["model=vgg99"], "there is no model=vgg99: choose one of custom, mlp"),
    "experiment": (["experiment=figure9"], "there is no experiment=figure9: choose one of catapult"),
    "missing folder": (["data=images", "data.root=nowhere"], "nowhere"),
    "no root": (["data=cifar10"], "data.root is not given: set it, as in data.root=..."),
    "std 0": (["data.std=[0]"], "is not positive"),
    "mean": (["data.mean=grey"], "data.mean is 'grey': give one number a channel"),
    "subset too large": (["data.train_size=100000"], "100000"),
    "subset too small": (["data.train_size=5"], "ask for 10 (one a class)"),
    "no cuda": (["device=cuda"], "device=cuda, but torch"),
    "unknown device": (["device=abacus"], "unknown device 'abacus'"),
    "os.system as model": (["model=custom", "model._target_=os.system", "+model.command=ls"], "os.system is neither"),
    "no such module": (["model=custom", "model._target_=absent.Net"], "no module named 'absent'"),
    "number of classes": (["model=custom", "model._target_=torch.nn.Flatten"], "the network maps 2 images to (2, 64)"),
    "no parameters": (["model=custom", "model._target_=wrong.Empty"], "no trainable parameters"),
    "operator without a rule": (["alpha=10", "model=custom", "model._target_=wrong.Odd"], "aten.special_erfcx"),
}


@pytest.mark.skipif(torch.cuda.is_available(), reason="device=cuda is no mistake where there is one")
@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_line_and_leaves_nothing(lazytorch, folder, case):
    (folder / "wrong.py").write_text(
        "import torch\n\n"
        "class Empty(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return x.new_zeros(len(x), 10)\n\n"
        "class Odd(torch.nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(64, 10)\n"
        "    def forward(self, x):\n"
        "        return torch.special.erfcx(super().forward(x.flatten(1)))\n"
    )
    arguments, message = BAD[case]
    code, out, err = lazytorch(*arguments)
    assert code == 1 and out == []
    assert len(err.splitlines()) == 1 and err.startswith("lazytorch: ") and message in err, err
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"wrong.py"}


ROOTS = ("os.system", "subprocess.Popen", "builtins.print", "lazytorch.CenteredModel", "lazytorch.experiments.perform")


@pytest.mark.parametrize("target", ROOTS)
def test_a_root_that_is_no_experiment_is_refused_before_it_is_called(lazytorch, folder, target):
    code, out, err = lazytorch(f"_target_={target}", "+command=touch called", "+args=touch called")
    assert code == 1 and out == [] and "is no lazytorch.experiments.Experiment" in err
    assert list(folder.iterdir()) == []


def test_a_class_that_is_not_finished_is_named(lazytorch, folder):
    (folder / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from lazytorch.experiments import Experiment\n\n"
        "class Bare(Experiment):\n"
        "    steps: int = 3\n\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Needy(Experiment):\n"
        "    steps: int\n"
    )
    code, _, err = lazytorch("_target_=mine.Bare")
    assert code == 1 and "mine.Bare is no dataclass: put @dataclass(frozen=True) above it" in err
    code, _, err = lazytorch("_target_=mine.Needy")
    assert code == 1 and "mine.Needy has a field without a default" in err and "'steps'" in err


def test_errors_come_in_full_when_asked(lazytorch, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    code, _, err = lazytorch("alpha=0")
    assert code == 1 and "Traceback" in err and err.splitlines()[-1].startswith("lazytorch: alpha must be")


@contextmanager
def files_at_most(size):
    """No file grows beyond ``size`` bytes, by the system's own doing."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_one_line_and_the_run_goes_on_afterwards(lazytorch, tiny):
    arguments = [*tiny, "model.width=64", "probes=[]", "epochs=2"]
    with files_at_most(30_000):
        code, out, err = lazytorch(*arguments)
    errors = [line for line in err.splitlines() if line.startswith("lazytorch: ")]
    assert code == 1 and out == [] and len(errors) == 1 and "Traceback" not in err
    assert "while writing" in errors[0] and ".pt: free some and start again" in errors[0]
    code, out, err = lazytorch(*arguments)
    assert code == 0 and RunDirectory(out[-1]).summary["status"] == "finished"


def test_no_space_left_is_one_line(lazytorch, tiny, monkeypatch):
    """The system's own error, at the first write of a checkpoint, and at every write from then on."""
    replace, full = os.replace, []

    def refusing(source, target):
        if full or str(target).endswith(".pt"):
            full.append(target)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refusing)
    code, _, err = lazytorch(*tiny, "probes=[]")
    errors = [line for line in err.splitlines() if line.startswith("lazytorch: ")]
    assert code == 1 and len(errors) == 1 and "no space left on device while writing" in errors[0]
    assert full[0].name in errors[0] and "free some and start again" in errors[0]


def test_a_corrupt_image_is_named(lazytorch, folder):
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            (folder / "set" / part / name).mkdir(parents=True)
            (folder / "set" / part / name / "2.png").write_bytes(b"not an image")
    code, _, err = lazytorch("data=images", "data.root=set", "model=mlp")
    assert code == 1 and "set/train/ant/2.png" in err and len(err.splitlines()) == 1


def test_a_failed_run_says_so(lazytorch, folder, tiny):
    (folder / "mine.py").write_text(
        "def broken(model):\n    assert not model.theta_norm(), 'it\\nmoved'\n    return {}\n"
    )
    code, _, err = lazytorch(*tiny, "probes=[mine.broken]")
    assert code == 1 and err.splitlines()[-1] == "lazytorch: AssertionError: it moved (mine.py:2)"
    (summary,) = (json.loads(path.read_text()) for path in folder.rglob("summary.json"))
    assert summary.items() >= {"alpha": 1.0, "status": "failed", "error": "AssertionError: it moved"}.items()
    assert summary["train_loss"] == pytest.approx(0.1)  # the numbers of the last evaluation are kept
