import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytorch.runs import label


@pytest.mark.parametrize(
    "changed, text",
    [
        ({}, ""),
        ({"model.width": 0.25, "seed": 0, "alpha": 1e7}, "alpha=1e7,seed=0,width=0.25"),
        ({"alpha": math.inf}, "alpha=inf"),
        ({"model._target_": "lazytorch.models.vgg.VGG11"}, "model=VGG11"),
        ({"loss": {"_target_": "my.losses.Hinge", "margin": 1}}, "loss=Hinge"),
        ({"model.name": "a", "data.name": "b", "data.size": 1}, "name=a,data=b,size=1"),
        ({"seed": 0, "probe.seed": 1}, "seed=0,probe.seed=1"),
        ({"a.model._target_": "x.Y", "b.model._target_": "x.Z"}, "a.model=Y,b.model=Z"),
        ({"probes": ["lazytorch.probes.Drift", "stability"]}, "probes=Drift+stability"),
        ({"alphas": (1.0, 1e3, math.inf)}, "alphas=1+1e3+inf"),
        ({"plan": True, "root": None, "n": False}, "plan=true,root=null,n=false"),
        ({"file": 'a/b\\c:d*e?"f<g>|h i\n'}, "file=a-b-c-d-e-f-g-h-i-"),
        ({".hidden": 1}, "hidden=1"),
    ],
)
def test_label(changed, text):
    assert label(changed) == text


@pytest.mark.parametrize(
    "value, text",
    [
        (1e7, "1e7"),
        (100.0, "100"),
        (1e-7, "1e-7"),
        (0.25, "0.25"),
        (-2.5e9, "-2.5e9"),
        (0.0, "0"),
        (1 / 3, "0.333333"),
        (50000, "50000"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers_are_short(value, text):
    assert label({"x": value}) == f"x={text}"


def test_keys_that_do_not_fit_are_left_out_whole():
    changed = {"name": "x" * 60, "other": "y" * 60, "alpha": 1.0, "z": 2}
    assert label(changed) == f"alpha=1,name={'x' * 60},z=2"
    assert label(changed, length=7) == "alpha=1"
    assert label(changed, length=6) == "z=2"
    assert label(changed, length=0) == ""


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)


@given(st.dictionaries(st.text(), values), st.integers(0, 120))
def test_any_label_is_a_short_safe_name(changed, length):
    assert re.fullmatch(f"[A-Za-z0-9._+=,-]{{0,{length}}}", label(changed, length))
    assert label(changed, length)[:1] not in (".", "-")
