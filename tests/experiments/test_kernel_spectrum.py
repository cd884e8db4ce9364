"""The experiment kernel_spectrum, against the explicit kernel."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import lazytorch as lt
from lazytorch import data
from lazytorch.runs import RunDirectory

SMALL = ["experiment=kernel_spectrum", "data.train_size=12", "model.width=0.05"]


def spectra(run):
    rows = run.table("spectrum")
    return {name: [row for row in rows if row["inputs"] == name] for name in ("images", "noise")}


def test_is_the_spectrum_of_the_kernel_on_images_and_noise(lazytorch):
    code, out, err = lazytorch(*SMALL, "seed=3")
    assert code == 0 and len(out) == 1, err
    path = Path(out[-1])
    assert path.parent == Path("runs/kernel_spectrum")
    names = {p.name for p in path.iterdir() if not p.name.startswith(".")}
    assert names == {"config.yaml", "summary.json", "report.json", "spectrum.csv", "tensorboard"}
    rows = spectra(RunDirectory(path))
    eigenvalues = {name: np.array([row["eigenvalue"] for row in rows[name]]) for name in rows}

    images, _ = data.load("digits", train_size=12, size=32, seed=3)
    mean, std = data.channel_statistics(images.images)
    noise = torch.randint(256, images.images.shape, generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    torch.manual_seed(3)
    net = lt.models.vgg11(width=0.05, channels=1).double()
    summary = json.loads((path / "summary.json").read_text())
    assert (summary["inputs"], summary["outputs"]) == (12, 10)
    for name, pixels in (("images", images.images), ("noise", noise)):
        x = (pixels.double() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        kernel = lt.empirical_ntk(net, x).transpose(1, 2).reshape(120, 120).numpy()
        expected = np.linalg.eigvalsh(kernel)[::-1]
        np.testing.assert_allclose(eigenvalues[name], expected, atol=1e-6 * expected[0])
        rounding = 10 * np.finfo(float).eps * np.linalg.norm(kernel)
        found = summary[name]
        assert [row["index"] for row in rows[name]] == list(range(1, 121))
        assert sum(row["resolved"] for row in rows[name]) == found["rank"] == (expected > rounding).sum()
        assert found["largest"] == pytest.approx(expected[0])
        assert found["condition_number"] == pytest.approx(expected[0] / expected[-1], rel=1e-4)
        share = expected / expected.sum()
        assert found["effective_rank"] == pytest.approx(np.exp(-(share * np.log(share)).sum()))
    line = err.splitlines()[-1]
    for name in ("images", "noise"):
        assert f"{name}.condition_number {summary[name]['condition_number']:.4g}" in line
    assert "held: the kernel is badly conditioned" in line


def test_a_singular_kernel_is_badly_conditioned(lazytorch):
    """Two weights in all: a kernel of rank two at most."""
    own = ["model=mlp", "model.depth=0", "data.size=1", "data.train_size=12", "experiment=kernel_spectrum"]
    code, out, err = lazytorch(*own)
    assert code == 0, err
    summary = RunDirectory(out[-1]).summary
    assert summary["images"]["condition_number"] is None and summary["claims"][0]["held"] is True


def test_goes_on_where_it_was_interrupted_and_starts_over_when_asked(lazytorch):
    _, out, _ = lazytorch(*SMALL)
    run = RunDirectory(out[-1])
    whole = run.table("spectrum")
    marked = [row | {"eigenvalue": 0.5} if row["index"] == 7 else row for row in whole if row["inputs"] == "images"]
    run.write_table("spectrum", marked)
    (run.path / "summary.json").unlink()
    code, again, _ = lazytorch(*SMALL)
    assert code == 0 and again == out
    assert run.table("spectrum") == marked + [row for row in whole if row["inputs"] == "noise"]
    lazytorch(*SMALL, "resume=false")
    assert run.table("spectrum") == whole


@pytest.mark.parametrize("key", ("steps=3", "optimizer.lr=1", "alpha=3", "epochs=7"))
def test_keys_that_it_does_not_read_are_refused(lazytorch, key):
    code, _, err = lazytorch(*SMALL, key)
    assert code == 1 and len(err.splitlines()) == 1
    assert f"KernelSpectrum reads no key {key.partition('=')[0]}: remove it" in err


@pytest.mark.parametrize("key", ("data.test_size=20", "data.augment=flip", "data.validation_size=20"))
def test_settings_without_a_use_are_refused(lazytorch, key):
    code, _, err = lazytorch(*SMALL, key)
    assert code == 1 and len(err.splitlines()) == 1
    assert key.partition("=")[0] in err and any(remedy in err for remedy in ("set it to none", "leave"))
