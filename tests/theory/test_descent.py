"""Plain gradient descent."""

import pytest
import torch

import lazytorch as lt


def test_it_yields_the_objective_at_the_parameters_as_they_are():
    w = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
    seen = [(value, w.detach().clone()) for value in lt.theory.descend([w], lambda: (w**2).sum() / 2, 0.1, 3)]
    assert len(seen) == 4
    for step, (value, at) in enumerate(seen):
        torch.testing.assert_close(at, 0.9**step * torch.tensor([2.0, -1.0], dtype=torch.float64), rtol=1e-14, atol=0)
        assert value == pytest.approx((at**2).sum().item() / 2, rel=1e-14)


def test_it_ends_where_the_objective_is_not_finite():
    w = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    values = list(lt.theory.descend([w], lambda: w**4, 1e60, 9))
    assert len(values) == 2 and values[0] == 1.0  # w = -4e60, and then w^4 overflows
