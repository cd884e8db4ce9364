import hashlib
import json
import math

import pytest
import yaml

from lazytorch.runs import canonical, identity, read_alpha

CONFIG = {
    "alpha": 1,
    "seed": 0,
    "epochs": 10,
    "device": "cpu",
    "runs_dir": "runs",
    "name": "mlp-digits",
    "resume": True,
    "model": {"_target_": "lazytorch.models.vgg11", "name": "vgg11", "width": 1},
    "data": {"name": "digits", "root": None, "train_size": 100, "augment": "none"},
    "optimizer": {"lr": 1, "momentum": 0.9},
}


@pytest.mark.parametrize("spelling", ["1", "1.0", "1e0", "1.e+0", "'1'"])
def test_alpha_one_is_one_run_however_spelled(spelling):
    assert identity(CONFIG | yaml.safe_load(f"alpha: {spelling}")) == identity(CONFIG)


@pytest.mark.parametrize("spelling", ["inf", ".inf", ".Inf", "+.inf", "infinity"])
def test_infinite_alpha_is_one_run_however_spelled(spelling):
    config = CONFIG | yaml.safe_load(f"alpha: {spelling}")
    assert identity(config) == identity(CONFIG | {"alpha": math.inf})
    assert json.loads(canonical(config))["alpha"] == "inf"


def test_order_of_keys_does_not_matter():
    assert identity(dict(reversed(CONFIG.items()))) == identity(CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        {"runs_dir": "elsewhere"},
        {"name": "another"},
        {"resume": False},
        {"device": "cuda"},
        {"epochs": 1000},
        {"versions": {"torch": "2.6"}},
        {"data_fingerprint": {"train": "abc"}},
        {"data": CONFIG["data"] | {"root": "/data"}},
    ],
)
def test_what_does_not_change_the_result_does_not_change_the_run(change):
    assert identity(CONFIG | change) == identity(CONFIG)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 2},
        {"seed": 1},
        {"seed": 2**60 + 1},
        {"model": CONFIG["model"] | {"name": "resnet18"}},
        {"data": CONFIG["data"] | {"name": "images"}},
        {"optimizer": {"lr": 1, "momentum": True}},
    ],
)
def test_every_other_key_changes_the_run(change):
    assert identity(CONFIG | change) != identity(CONFIG)


def test_neighbouring_large_seeds_are_two_runs():
    assert identity({"seed": 2**60}) != identity({"seed": 2**60 + 1})


def test_booleans_are_not_numbers_and_zero_has_no_sign():
    assert canonical({"a": True, "b": 1, "c": -0.0}) == '{"a":true,"b":1.0,"c":0.0}'


def test_identity_is_known():
    config = {"seed": 0, "alpha": 1e7, "model": {"width": 0.5}}
    text = '{"alpha":10000000.0,"model":{"width":0.5},"seed":0.0}'
    assert canonical(config) == text
    assert identity(config) == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_nan_is_refused_by_name():
    with pytest.raises(ValueError, match="optimizer.lr is nan"):
        canonical({"optimizer": {"lr": math.nan}})


def test_other_types_are_refused_by_name():
    with pytest.raises(TypeError, match="data.root2 is a set"):
        canonical({"data": {"root2": {1}}})


def test_alpha_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="alpha is 'large'"):
        read_alpha("large")
