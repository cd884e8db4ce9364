"""The experiment kernel_spectrum from the command line, against the explicit kernel."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import lazytorch as lt
from lazytorch import data
from lazytorch.runs import RunDirectory

SMALL = ["experiment=kernel_spectrum", "data.train_size=12", "model.width=0.05"]


def test_is_the_spectrum_of_the_kernel_on_images_and_noise(lazytorch):
    code, out, err = lazytorch(*SMALL, "seed=3")
    assert code == 0 and len(out) == 1, err
    path = Path(out[-1])
    assert path.parent == Path("runs/kernel_spectrum")
    names = {p.name for p in path.iterdir() if not p.name.startswith(".")}
    assert names == {"config.yaml", "summary.json", "report.json", "spectrum.csv", "tensorboard"}
    rows = RunDirectory(path).table("spectrum")
    eigenvalues = {
        name: np.array([row["eigenvalue"] for row in rows if row["inputs"] == name]) for name in ("images", "noise")
    }

    images, _ = data.load("digits", train_size=12, size=32, seed=3)
    mean, std = data.channel_statistics(images.images)
    x = (images.images.double() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.manual_seed(3)
    kernel = lt.empirical_ntk(lt.models.vgg11(width=0.05, channels=1).double(), x)
    expected = np.linalg.eigvalsh(kernel.transpose(1, 2).reshape(120, 120).numpy())[::-1]
    scale = expected[0]
    np.testing.assert_allclose(eigenvalues["images"], expected, atol=1e-6 * scale)
    assert np.abs(eigenvalues["noise"] - expected).max() > 1e-2 * scale

    summary = json.loads((path / "summary.json").read_text())
    assert (summary["inputs"], summary["outputs"]) == (12, 10)
    for name, values in eigenvalues.items():
        assert summary[name]["largest"] == values[0]
        if summary[name]["rank"] == 120:
            assert summary[name]["condition_number"] == pytest.approx(values[0] / values[-1])
        else:
            assert summary[name]["condition_number"] is None


def test_goes_on_where_it_was_interrupted_and_starts_over_when_asked(lazytorch):
    _, out, _ = lazytorch(*SMALL)
    run = RunDirectory(out[-1])
    whole = run.table("spectrum")
    images = [row for row in whole if row["inputs"] == "images"]
    (run.path / "summary.json").unlink()
    marked = [images[0] | {"eigenvalue": 12345.0}, *images[1:]]
    run.write_table("spectrum", marked)  # as a kill leaves it before the noise
    code, again, _ = lazytorch(*SMALL)
    assert code == 0 and again == out
    assert run.table("spectrum")[0]["eigenvalue"] == 12345.0 and len(run.table("spectrum")) == len(whole)
    lazytorch(*SMALL, "resume=false")
    assert run.table("spectrum") == whole


@pytest.mark.parametrize("key", ("steps=3", "data.test_size=5", "optimizer.lr=1", "alpha=3", "data.augment=flip"))
def test_keys_that_it_does_not_read_are_refused(lazytorch, key):
    code, _, err = lazytorch(*SMALL, key)
    assert code == 1 and len(err.strip().splitlines()) == 1
    assert "nothing reads the key" in err or "leave out" in err or "augment" in err
