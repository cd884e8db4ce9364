"""The verdict's words, at and about its thresholds."""

import ast
import math
import sys
from pathlib import Path

import pytest

from lazytorch import verdict as module
from lazytorch.verdict import LAZY, NOT_LAZY, verdict


def measured(drift=None, stability=None, error=None, **others):
    return {"ntk_drift": drift, "activation_stability": stability, "linearization_error": error} | others


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            (0.003, 0.998, 0.004),
            "lazy: kernel drift 0.3%, 99.8% of activations unchanged, linearization error 0.4%",
        ),
        (
            (1.1e-7, 1 - 3e-5, 2e-7),
            "lazy: kernel drift 1e-7, all but 3e-5 of activations unchanged, linearization error 2e-7",
        ),
        (
            (9.1, 0.522, 2.2),
            "not lazy: kernel drift 910%, 52.2% of activations unchanged, linearization error 220%",
        ),
        (
            (0.47, 0.895, 0.3),
            "between: kernel drift 47%, 89.5% of activations unchanged, linearization error 30%",
        ),
        ((0.0, 1.0, 0.0), "lazy: kernel drift 0, all activations unchanged, linearization error 0"),
        ((math.inf, None, None), "not lazy: kernel drift inf"),
        ((2e5, None, None), "not lazy: kernel drift 2e5"),
        ((None, 0.999, math.nan), "lazy: 99.9% of activations unchanged"),
        ((None, 0.9991, None), "lazy: all but 9e-4 of activations unchanged"),
        ((None, None, None), "not measured"),
    ],
)
def test_words(values, words):
    assert verdict(measured(*values)) == words


def test_one_quantity_beyond_its_threshold_decides():
    lazy = {"drift": 0.0, "stability": 1.0, "error": 0.0}
    for name, key in (("drift", "drift"), ("error", "error")):
        for value, word in ((0.99 * LAZY[key], "lazy"), (LAZY[key], "between"), (NOT_LAZY[key], "between")):
            assert verdict(measured(**lazy | {name: value})).partition(":")[0] == word
        assert verdict(measured(**lazy | {name: 1.01 * NOT_LAZY[key]})).startswith("not lazy:")
    for stability, word in ((0.98, "lazy"), (0.96, "between"), (0.76, "between"), (0.74, "not lazy")):
        assert verdict(measured(**lazy | {"stability": stability})).partition(":")[0] == word


@pytest.mark.parametrize("alpha", (math.inf, "inf"))
def test_infinite_alpha_is_linear_where_nothing_moved(alpha):
    words = "linear: alpha is infinite"
    assert verdict(measured(0.0, 1.0, 0.0, alpha=alpha, displacement=0.0)) == words
    assert verdict(measured(0.0, None, None, alpha=alpha)) == words
    assert verdict(measured(alpha=alpha)) == words
    assert verdict(measured(0.2, 1.0, 0.0, alpha=alpha)).startswith("between: kernel drift 20%")


def test_weights_that_have_not_moved_are_no_training():
    assert verdict(measured(0.0, 1.0, None, alpha=10.0, displacement=0.0)).startswith("not trained")
    assert verdict(measured(0.0, 1.0, None, alpha=10.0, displacement=1e-9)).startswith("lazy")


def test_a_whole_summary_may_be_given():
    summary = measured(0.01, 0.99, 0.02, alpha=100.0, status="finished", displacement_by_module={"0": None}, name=None)
    assert verdict(summary).startswith("lazy: kernel drift 1.0%, 99.0%")
    assert verdict({}) == "not measured"


def test_it_needs_the_standard_library_alone():
    tree = ast.parse(Path(module.__file__).read_text())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert not isinstance(node, ast.ImportFrom) or node.level == 0
        assert all(name.partition(".")[0] in sys.stdlib_module_names for name in names)


def test_ruins_are_not_lazy():
    """A network that has blown up: its kernel drifts little, as all units are dead."""
    words = verdict({"ntk_drift": 0.25, "activation_stability": 0.9, "displacement": 2.7e10})
    assert words.startswith("not lazy") and "weights moved by 2.7e+10 times their norm" in words
