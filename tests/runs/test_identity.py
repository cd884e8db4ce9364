import hashlib
import json
import math

import pytest
import yaml

from lazytorch.runs import canonical, identity, read_alpha

CHANGED = {
    "alpha": 1,
    "seed": 0,
    "model._target_": "lazytorch.models.vgg11",
    "model.width": 1,
    "data": {"name": "digits", "root": None},
    "probes": ["a", "b"],
    "optimizer.momentum": 1,
}


@pytest.mark.parametrize("spelling", ["1", "1.0", "1.e+0"])
def test_alpha_one_is_one_run_however_spelled(spelling):
    assert identity("training", CHANGED | yaml.safe_load(f"alpha: {spelling}")) == identity("training", CHANGED)


@pytest.mark.parametrize("infinity", [math.inf, "inf"])
def test_infinity_is_spelled_inf(infinity):
    assert json.loads(canonical({"alpha": infinity, "b": [-math.inf]})) == {"alpha": "inf", "b": ["-inf"]}


def test_order_of_keys_does_not_matter_and_order_of_lists_does():
    turned = dict(reversed(CHANGED.items())) | {"data": {"root": None, "name": "digits"}}
    assert identity("training", turned) == identity("training", CHANGED)
    assert identity("training", CHANGED | {"probes": ["b", "a"]}) != identity("training", CHANGED)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 2},
        {"seed": 1},
        {"seed": 2**60 + 1},
        {"seed": "0"},
        {"seed": None},
        {"model.width": 0.5},
        {"data": {"name": "images", "root": None}},
        {"optimizer.momentum": True},
        {"another": 0},
    ],
)
def test_every_key_and_value_changes_the_run(change):
    assert identity("training", CHANGED | change) != identity("training", CHANGED)


def test_a_key_that_is_gone_changes_the_run_and_so_does_the_experiment():
    assert identity("training", {"alpha": 1}) != identity("training", {"alpha": 1, "seed": 0})
    assert identity("training", CHANGED) != identity("rates", CHANGED)


def test_neighbouring_large_seeds_are_two_runs():
    assert identity("x", {"seed": 2**60}) != identity("x", {"seed": 2**60 + 1})
    assert identity("x", {"seed": 10**400}) != identity("x", {"seed": 10**400 + 1})


def test_booleans_are_not_numbers_and_zero_has_no_sign():
    assert canonical({"a": True, "b": 1, "c": -0.0}) == '{"a":true,"b":1.0,"c":0.0}'


def test_identity_is_known():
    text = '{"changed":{"alpha":10000000.0,"model":{"width":0.5},"seed":0.0},"experiment":"training"}'
    changed = {"seed": 0, "alpha": 1e7, "model": {"width": 0.5}}
    assert canonical({"experiment": "training", "changed": changed}) == text
    assert identity("training", changed) == hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    "value, text", [(None, "null"), ("é", '"\\u00e9"'), (3, "3.0"), ([1, (2, "x")], '[1.0,[2.0,"x"]]'), ({}, "{}")]
)
def test_any_plain_value_has_one_spelling(value, text):
    assert canonical(value) == text


def test_nan_is_refused_by_name():
    with pytest.raises(ValueError, match="optimizer.lr is nan"):
        canonical({"optimizer": {"lr": math.nan}})
    with pytest.raises(ValueError, match="the value is nan"):
        canonical(math.nan)


def test_two_keys_of_one_spelling_are_refused():
    with pytest.raises(ValueError, match="two keys of sizes have one spelling"):
        canonical({"sizes": {1: 0, "1": 2}})


def test_other_types_are_refused_by_name():
    with pytest.raises(TypeError, match=r"data.roots\[1\] is a set"):
        canonical({"data": {"roots": [0, {1}]}})


@pytest.mark.parametrize("spelling", ["inf", ".inf", ".Inf", " +inf", "infinity", math.inf])
def test_alpha_is_read_from_its_spellings(spelling):
    assert read_alpha(spelling) == math.inf
    assert read_alpha("1e7") == read_alpha(10**7) == 1e7


@pytest.mark.parametrize("value", ["large", None, [], 10**400])
def test_alpha_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="alpha is .*; give a number"):
        read_alpha(value)
