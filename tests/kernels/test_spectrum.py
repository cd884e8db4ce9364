"""Spectra of kernels whose eigenvalues are known by construction."""

import math

import pytest
import torch

from lazytorch.kernels import kernel_spectrum


def with_eigenvalues(values, outputs):
    """A full kernel (n, n, K, K) with these eigenvalues."""
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(len(values), len(values), dtype=torch.float64))
    matrix = basis * values @ basis.T
    n = len(values) // outputs
    return matrix.reshape(n, outputs, n, outputs).transpose(1, 2)


def test_full_and_trace_kernels():
    values = torch.logspace(3, -3, 12, dtype=torch.float64)
    full = kernel_spectrum(with_eigenvalues(values, 3))
    torch.testing.assert_close(full.eigenvalues, values, rtol=1e-9, atol=0)
    assert full.condition_number == pytest.approx(1e6, rel=1e-9) and full.rank == 12
    trace = kernel_spectrum(with_eigenvalues(values, 1)[:, :, 0, 0])
    torch.testing.assert_close(trace.eigenvalues, values, rtol=1e-9, atol=0)


def test_effective_rank():
    flat = torch.tensor([5.0] * 4 + [0.0] * 2, dtype=torch.float64)
    assert kernel_spectrum(with_eigenvalues(flat, 2)).effective_rank == pytest.approx(4, rel=1e-9)
    shares = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    expected = 2 ** (0.5 * 1 + 0.5 * 2)  # 1.5 bits
    assert kernel_spectrum(with_eigenvalues(8 * shares, 1)).effective_rank == pytest.approx(expected)


@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_rounding_is_told_from_eigenvalues(dtype):
    values = torch.cat([torch.logspace(2, 0, 30), torch.zeros(30)]).double()
    spectrum = kernel_spectrum(with_eigenvalues(values, 2).to(dtype))
    assert spectrum.rank == 30 and spectrum.condition_number == math.inf
    assert spectrum.eigenvalues.dtype == torch.float64


def test_refusals():
    with pytest.raises(ValueError, match='kind="trace"'):
        kernel_spectrum(torch.ones(4, 4, 3))
    with pytest.raises(ValueError, match="inputs with themselves"):
        kernel_spectrum(torch.ones(4, 3))
    with pytest.raises(ValueError, match="not finite"):
        kernel_spectrum(torch.full((2, 2), torch.nan))
    with pytest.raises(ValueError, match="zero"):
        kernel_spectrum(torch.zeros(2, 2))
