import math

import pytest

from lazytorch.reports.labels import distinct, labels, words
from lazytorch.reports.values import flatten, key_of, number, same, spell


@pytest.mark.parametrize(
    "value, text",
    [
        (1.0, "1"),
        (0.5, "0.5"),
        (100.0, "100"),
        (1e7, "1e7"),
        (2.5e4, "2.5e4"),
        (1e-3, "1e-3"),
        (-1e-5, "-1e-5"),
        (0, "0"),
        (1024, "1024"),
        (1 / 3, "0.333333"),
        (math.inf, "∞"),
        ("inf", "∞"),
        (True, "true"),
        (None, "–"),
        ("two\nlines", "two lines"),
        ([1, 2.5], "1 2.5"),
    ],
)
def test_a_value_is_spelt_short(value, text):
    assert spell(value) == text


def test_all_digits_tell_neighbours_apart():
    one, other = 0.1, math.nextafter(0.1, 1)
    assert spell(one) == spell(other) and spell(one, 17) != spell(other, 17)
    assert float(spell(other, 17)) == other and float(spell(1.2345678901234567e-9, 17)) == 1.2345678901234567e-9


@pytest.mark.parametrize("value", ["1", "nan", None, True, math.nan, [1], 10**400])
def test_no_number(value):
    assert number(value) is None


@pytest.mark.parametrize(
    "one, other, is_same",
    [
        (10000000, 1e7, True),
        (math.inf, "inf", True),
        (0.1 + 0.2, 0.3, True),
        ("mse", "mse", True),
        (None, None, True),
        (1, True, False),
        (0, None, False),
        ("1", 1, False),
        (1.0, 1.0001, False),
    ],
)
def test_same_values_are_the_same(one, other, is_same):
    assert same(one, other) is is_same
    if is_same and 0.3 not in (one, other):
        assert key_of(one) == key_of(other)


def test_nested_fields_have_dotted_names():
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": 3}}, "f": {}}) == {"a": 1, "b.c": 2, "b.d.e": 3}


def test_a_label_names_as_few_settings_as_tell_apart():
    settings = [
        {"model._target_": "m.vgg11", "model.width": 1.0, "optimizer.lr": 1.0},
        {"model._target_": "m.resnet18", "model.width": 2.0, "optimizer.lr": 1.0},
        {"model._target_": "m.mlp", "model.width": 3.0, "optimizer.lr": 1.0},
    ]
    assert labels(settings) == ["model=vgg11", "model=resnet18", "model=mlp"]
    assert labels(settings[:1]) == [""]
    assert labels([]) == []


def test_a_setting_that_alone_tells_all_apart_is_enough():
    """The first key that varies tells two of three apart, the second all three."""
    settings = [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 3}]
    assert labels(settings) == ["b=1", "b=2", "b=3"]


def test_last_parts_that_are_shared_are_written_out():
    settings = [{"data.size": i, "model.size": j} for i in (1, 2) for j in (1, 2)]
    assert labels(settings)[0] == "data.size=1, model.size=1"


def test_labels_are_never_alike():
    assert labels([{"model._target_": "a.Net"}, {"model._target_": "b.Net"}]) == [
        "model._target_=a.Net",
        "model._target_=b.Net",
    ]
    one, other = labels([{"lr": 0.1}, {"lr": math.nextafter(0.1, 1)}])
    assert one != other


def test_shortened_labels_stay_distinct():
    texts = ["x" * 30 + middle + "y" * 30 for middle in ("one", "two", "three")]
    found = distinct([*texts, "short"], 20)
    assert len(set(found.values())) == 4 and found["short"] == "short"
    assert all(len(text) <= 25 for text in found.values())


def test_words_of_a_label_leave_mathematics_out():
    assert words(r"displacement $|w - w_0|\,/\,|w_0|$") == "displacement"
    assert words(r"$|\theta|$") == ""
