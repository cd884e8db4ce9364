"""The experiment kappa: its numbers against explicit tensors, and which claims wrong exponents fail."""

import math

import numpy as np
import pytest
import torch

from lazytorch.experiments.kappa import Kappa
from lazytorch.runs import RunDirectory

SMALL = (
    "experiment=kappa",
    "examples=2",
    "dimension=2",
    "draws=1",
    "widths=[3]",
    "width=3",
    "alphas=[1,1000]",
    "starts=2",
)


def explicit(a, b, x, y):
    """kappa of h(x) = sum_j b_j relu(a_j . x), for two examples: D^2 h has the terms between a_j and b_j alone."""
    active = (a @ x.T > 0).astype(float)  # (m, n)
    h = (b[:, None] * active * (a @ x.T)).sum(0)
    of_a = (b[:, None] * active)[:, :, None] * x  # (m, n, d)
    first = np.concatenate([of_a.transpose(1, 0, 2).reshape(len(x), -1), (active * (a @ x.T)).T], 1)
    second = max(
        np.linalg.norm(active[j][:, None] * x, 2) for j in range(len(a))
    )  # max |x v| over the active, u = v split
    norms = np.linalg.norm(h - y), second, np.linalg.norm(first, 2)
    residual, second, first = (norm / math.sqrt(len(x)) for norm in norms)
    return residual * second / first**2


def draws(seed, sizes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*size, generator=generator, dtype=torch.float64).numpy() for size in sizes], generator


def test_its_numbers_are_those_of_explicit_tensors(lazytorch):
    code, out, err = lazytorch(*SMALL)
    assert code == 0, err
    run = RunDirectory(out[-1])
    (x,), generator = draws(0, [(2, 2)])
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    y = 2.0 * torch.randint(2, (2, 1), generator=generator).numpy()[:, 0] - 1
    for row in run.table("widths"):
        (a, b), _ = draws(1, [(row["width"], 2), (1, row["width"])])
        root = math.sqrt(row["width"])
        assert row["kappa_plain"] == pytest.approx(explicit(a, b[0] / root, x, y), rel=1e-3)
        assert row["kappa_factor"] == pytest.approx(explicit(a, b[0], x, root * y), rel=1e-3)  # of h / root
    near, far = run.table("scales")
    assert near["kappa_centered"] / far["kappa_centered"] == pytest.approx(1000, rel=1e-3)
    assert far["kappa_scaled"] == pytest.approx(far["kappa_limit"], rel=0.05)
    assert far["kappa_limit"] > 2 * far["kappa_centered"]


def test_a_wrong_exponent_fails_its_claim():
    scale, limit, width, plain = (claim.check for claim in Kappa.report.claims)
    right = {
        "alpha_slope": -1.0,
        "over_limit": 1.01,
        "alpha_max": 1e4,
        "width_slope": -0.48,
        "width_slope_plain": -0.95,
    }
    assert all(check(right) for check in (scale, limit, width, plain))
    assert not scale(right | {"alpha_slope": -0.5}) and not limit(right | {"over_limit": 2.0})
    swapped = {"width_slope": right["width_slope_plain"], "width_slope_plain": right["width_slope"]}
    assert not width(swapped) and not plain(swapped)
    assert limit(right | {"alpha_max": 10.0}) is None and width({"width_slope": None}) is None
