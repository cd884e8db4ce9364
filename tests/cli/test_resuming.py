"""Going on: from a run's own checkpoint, from another's, and not with other code or data than the run's."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from lazytorch.runs import RunDirectory


def rows(directory):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in RunDirectory(directory).metrics]


@pytest.fixture
def tiny(tiny):
    return [*tiny, "probes=[]"]


def test_a_run_that_starts_from_a_checkpoint_is_a_run_of_its_own(lazytorch, folder, tiny):
    """It goes on with its own checkpoint, is done afterwards, and is not the run that starts from w_0."""
    _, (ordinary,), _ = lazytorch(*tiny)
    start = Path(ordinary) / "checkpoints" / "last.pt"
    before = {path: path.read_bytes() for path in Path(ordinary).rglob("*.*") if path.is_file()}
    further = [*tiny, "optimizer.lr=0.01", f"resume={start}"]
    code, out, err = lazytorch(*further, "epochs=2")
    assert code == 0 and out != [ordinary], err
    run = RunDirectory(out[-1])
    assert [row["epoch"] for row in run.metrics] == [0, 1, 2]
    assert "start" in run.config["changed"] and "start=" in run.path.name
    assert rows(out[-1])[:2] == rows(ordinary)
    code, again, err = lazytorch(*further, "epochs=3")
    assert code == 0 and again == out and "goes on from epoch 2" in err
    assert [row["epoch"] for row in run.metrics] == [0, 1, 2, 3]
    code, again, err = lazytorch(*further, "epochs=3")
    assert code == 0 and again == out and "is done (finished)" in err
    code, plain, _ = lazytorch(*tiny, "optimizer.lr=0.01")
    assert code == 0 and plain not in (out, [ordinary]) and rows(plain[-1])[1] != rows(out[-1])[1]
    elsewhere = folder / "moved.pt"
    elsewhere.write_bytes(start.read_bytes())
    assert lazytorch(*further[:-1], f"resume={elsewhere}", "epochs=3")[1] == out  # its content counts, not its place
    lazytorch(*tiny, "optimizer.lr=0.5", "name=other")
    (other,) = (folder / "runs" / "other").iterdir()
    assert lazytorch(*further[:-1], f"resume={other}/checkpoints/last.pt", "epochs=2")[1] != out
    assert {path: path.read_bytes() for path in before} == before


class Foreign:
    def __reduce__(self):
        return (print, ("this ran",))


@pytest.mark.parametrize("damage", ("truncated", "foreign pickle", "other configuration", "other model"))
def test_damaged_or_foreign_checkpoints_are_refused(lazytorch, tiny, damage):
    _, out, _ = lazytorch(*tiny, "alpha=10")
    path = Path(out[-1]) / "checkpoints" / "last.pt"
    again = [*tiny, "alpha=10", "epochs=2"]
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "foreign pickle":
        torch.save({"model": Foreign(), "settings": {}}, path)
    elif damage == "other configuration":
        _, other, _ = lazytorch(*tiny, "alpha=20")
        path.write_bytes((Path(other[-1]) / "checkpoints" / "last.pt").read_bytes())
    else:
        again = [*tiny, "alpha=10", "model.width=17", f"resume={path}"]
    code, out, err = lazytorch(*again)
    assert code == 1 and out == []
    lines = [line for line in err.splitlines() if line.startswith("lazytorch: ")]
    assert len(lines) == 1 and "checkpoint" in lines[0] and "this ran" not in err
    remedy = {"other model": "of another model", "other configuration": "alpha: 20.0 there, 10.0 here"}
    assert remedy.get(damage, "resume=false") in lines[0]


EDITS = {"network": ("nn.GELU()", "nn.Tanh()"), "loss": ("x - y", "x + y")}


@pytest.mark.parametrize("part", EDITS)
def test_edited_code_under_a_finished_run_is_refused(lazytorch, folder, tiny, part):
    """Whether more epochs are asked for or not; with the code as it was, the run is done, or goes on."""
    code = (
        "import torch\nfrom torch import nn\n\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 10))\n\n"
        "def loss(x, y):\n"
        "    y = torch.nn.functional.one_hot(y, 10)\n"
        "    return (x - y).square().mean()\n"
    )
    fast = [argument for argument in tiny if not argument.startswith("model")]
    own = [*fast, "model=custom", "model._target_=mine.Net", "+loss._target_=mine.loss", "optimizer.lr=0.1"]
    (folder / "mine.py").write_text(code)
    _, out, _ = lazytorch(*own)
    before = (Path(out[-1]) / "config.yaml").read_bytes()
    (folder / "mine.py").write_text(code.replace(*EDITS[part]))
    for arguments in (own, [*own, "epochs=2"]):
        status, printed, err = lazytorch(*arguments)
        assert status == 1 and printed == [], err
        assert f"was trained with another {part}" in err and "resume=false to start over" in err
    assert (Path(out[-1]) / "config.yaml").read_bytes() == before and len(rows(out[-1])) == 2
    status, printed, _ = lazytorch(*own, "resume=false", "name=anew")
    assert status == 0 and printed != out
    (folder / "mine.py").write_text(code)
    assert lazytorch(*own)[:2] == (0, out) and lazytorch(*own, "epochs=2")[:2] == (0, out)


def test_replaced_images_under_a_finished_run_are_refused(lazytorch, folder, tiny):
    for name in ("set", "same"):
        for part in ("train", "test"):
            for index, label in enumerate(("ant", "bee")):
                (folder / name / part / label).mkdir(parents=True)
                for k in range(2):
                    Image.new("L", (8, 8), 80 * index + 9 * k).save(folder / name / part / label / f"{k}.png")
    fast = [argument for argument in tiny if not argument.startswith("data")]
    images = [*fast, "data=images", "data.root=set"]
    _, out, _ = lazytorch(*images)
    assert lazytorch(*images, "data.root=same")[:2] == (0, out)  # where it lies does not matter
    Image.new("L", (8, 8), 200).save(folder / "set/train/ant/0.png")
    for arguments in (images, [*images, "epochs=2"]):
        code, printed, err = lazytorch(*arguments)
        assert code == 1 and printed == [] and "was trained on other training data" in err and "resume=false" in err
    assert lazytorch(*images, "data.root=nowhere")[0] == 1
    assert lazytorch(*images, "resume=false")[:2] == (0, out)
