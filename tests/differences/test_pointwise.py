"""Functions of one tensor, from elementary ones to activations, against 200-digit arithmetic on one grid."""

import mpmath
import pytest
import torch
from mpmath import mpf

from lazytorch.differences import pointwise, reading
from lazytorch.differences.operators import on_pairs
from lazytorch.differences.pair import Pair

aten = torch.ops.aten
EPSILONS = (1.0, 1e-2, 1e-4, 1e-7, 1e-12, 0.0)
EVERYWHERE, POSITIVE, ABOVE_ONE, ABOVE_MINUS_ONE, INSIDE = (-1e9, 1e9), (0, 1e9), (1, 1e9), (-1, 1e9), (-1, 1)


def _sigmoid(x):
    return 1 / (1 + mpmath.exp(-x))


def _softplus(x, beta=1):
    return mpmath.log1p(mpmath.exp(beta * x)) / beta


def _clamp(x, low, high):
    return max(min(x, mpf(high)), mpf(low))


def _gelu(x):
    return x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def _gelu_tanh(x):
    return x * _sigmoid(2 * mpmath.sqrt(2 / mpmath.pi) * (x + mpf("0.044715") * x**3))


def _elu(x, alpha=1, scale=1, input_scale=1):
    return mpf(scale) * (x if x > 0 else mpf(alpha) * mpmath.expm1(x * mpf(input_scale)))


#: name -> (operator, further arguments, the function, its domain)
FUNCTIONS = {
    "exp": (aten.exp.default, (), mpmath.exp, EVERYWHERE),
    "exp2": (aten.exp2.default, (), lambda x: mpf(2) ** x, EVERYWHERE),
    "expm1": (aten.expm1.default, (), mpmath.expm1, EVERYWHERE),
    "log": (aten.log.default, (), mpmath.log, POSITIVE),
    "log2": (aten.log2.default, (), lambda x: mpmath.log(x, 2), POSITIVE),
    "log10": (aten.log10.default, (), mpmath.log10, POSITIVE),
    "log1p": (aten.log1p.default, (), mpmath.log1p, ABOVE_MINUS_ONE),
    "reciprocal": (aten.reciprocal.default, (), lambda x: 1 / x, POSITIVE),
    "sqrt": (aten.sqrt.default, (), mpmath.sqrt, POSITIVE),
    "rsqrt": (aten.rsqrt.default, (), lambda x: 1 / mpmath.sqrt(x), POSITIVE),
    "sin": (aten.sin.default, (), mpmath.sin, EVERYWHERE),
    "cos": (aten.cos.default, (), mpmath.cos, EVERYWHERE),
    "tan": (aten.tan.default, (), mpmath.tan, EVERYWHERE),
    "asin": (aten.asin.default, (), mpmath.asin, INSIDE),
    "acos": (aten.acos.default, (), mpmath.acos, INSIDE),
    "atan": (aten.atan.default, (), mpmath.atan, EVERYWHERE),
    "sinh": (aten.sinh.default, (), mpmath.sinh, EVERYWHERE),
    "cosh": (aten.cosh.default, (), mpmath.cosh, EVERYWHERE),
    "tanh": (aten.tanh.default, (), mpmath.tanh, EVERYWHERE),
    "asinh": (aten.asinh.default, (), mpmath.asinh, EVERYWHERE),
    "acosh": (aten.acosh.default, (), mpmath.acosh, ABOVE_ONE),
    "atanh": (aten.atanh.default, (), mpmath.atanh, INSIDE),
    "erf": (aten.erf.default, (), mpmath.erf, EVERYWHERE),
    "erfc": (aten.erfc.default, (), mpmath.erfc, EVERYWHERE),
    "erfinv": (aten.erfinv.default, (), mpmath.erfinv, INSIDE),
    "lgamma": (aten.lgamma.default, (), lambda x: mpmath.log(abs(mpmath.gamma(x))), POSITIVE),
    "digamma": (aten.digamma.default, (), mpmath.digamma, POSITIVE),
    "i0": (aten.i0.default, (), lambda x: mpmath.besseli(0, x), EVERYWHERE),
    "i1": (aten.special_i1.default, (), lambda x: mpmath.besseli(1, x), EVERYWHERE),
    "i0e": (aten.special_i0e.default, (), lambda x: mpmath.exp(-abs(x)) * mpmath.besseli(0, x), EVERYWHERE),
    "sigmoid": (aten.sigmoid.default, (), _sigmoid, EVERYWHERE),
    "log sigmoid": (aten.log_sigmoid.default, (), lambda x: -_softplus(-x), EVERYWHERE),
    "softplus": (aten.softplus.default, (), _softplus, EVERYWHERE),
    "softplus, beta 2": (aten.softplus.default, (2.0,), lambda x: _softplus(x, 2), EVERYWHERE),
    "softplus below 5": (aten.softplus.default, (2.0, 5.0), lambda x: x if x > 2.5 else _softplus(x, 2), EVERYWHERE),
    "silu": (aten.silu.default, (), lambda x: x * _sigmoid(x), EVERYWHERE),
    "mish": (aten.mish.default, (), lambda x: x * mpmath.tanh(_softplus(x)), EVERYWHERE),
    "gelu": (aten.gelu.default, (), _gelu, EVERYWHERE),
    "gelu, tanh": (aten.gelu.default, {"approximate": "tanh"}, _gelu_tanh, EVERYWHERE),
    "square": (aten.pow.Tensor_Scalar, (2,), lambda x: x**2, EVERYWHERE),
    "cube": (aten.pow.Tensor_Scalar, (3,), lambda x: x**3, EVERYWHERE),
    "seventh power": (aten.pow.Tensor_Scalar, (7.0,), lambda x: x**7, EVERYWHERE),
    "tenth power": (aten.pow.Tensor_Scalar, (10,), lambda x: x**10, EVERYWHERE),
    "power 1/2": (aten.pow.Tensor_Scalar, (0.5,), mpmath.sqrt, POSITIVE),
    "power -1/2": (aten.pow.Tensor_Scalar, (-0.5,), lambda x: 1 / mpmath.sqrt(x), POSITIVE),
    "power 7/4": (aten.pow.Tensor_Scalar, (1.75,), lambda x: x ** mpf(1.75), POSITIVE),
    "power -3/8": (aten.pow.Tensor_Scalar, (-0.375,), lambda x: x ** mpf(-0.375), POSITIVE),
    "power -2": (aten.pow.Tensor_Scalar, (-2,), lambda x: x**-2, POSITIVE),
    "relu": (aten.relu.default, (), lambda x: max(x, mpf(0)), EVERYWHERE),
    "relu6": (aten.relu6.default, (), lambda x: _clamp(x, 0, 6), EVERYWHERE),
    "leaky relu": (aten.leaky_relu.default, (0.125,), lambda x: x if x > 0 else x / 8, EVERYWHERE),
    "abs": (aten.abs.default, (), abs, EVERYWHERE),
    "elu": (aten.elu.default, (), _elu, EVERYWHERE),
    "elu, scaled": (aten.elu.default, (1.5, 1.25, 0.75), lambda x: _elu(x, 1.5, 1.25, 0.75), EVERYWHERE),
    "hardtanh": (aten.hardtanh.default, (-0.5, 2.0), lambda x: _clamp(x, -0.5, 2), EVERYWHERE),
    "hardsigmoid": (aten.hardsigmoid.default, (), lambda x: _clamp(x + 3, 0, 6) / 6, EVERYWHERE),
    "hardswish": (aten.hardswish.default, (), lambda x: x * _clamp(x + 3, 0, 6) / 6, EVERYWHERE),
    "clamp": (aten.clamp.default, (-0.5, 2.0), lambda x: _clamp(x, -0.5, 2), EVERYWHERE),
    "clamp from below": (aten.clamp.default, (0.25,), lambda x: max(x, mpf(0.25)), EVERYWHERE),
}


def call(name, x):
    """The function itself of a tensor."""
    operator, further, _, _ = FUNCTIONS[name]
    return operator(x, **further) if isinstance(further, dict) else operator(x, *further)


def difference(name, epsilon, a, d):
    operator, further, _, _ = FUNCTIONS[name]
    args, kwargs = ((), further) if isinstance(further, dict) else (further, {})
    return on_pairs(operator, epsilon, call(name, a), (Pair(a, d), *args), kwargs).difference


def points(name, epsilon, dtype):
    """Values a and differences d inside the function's domain: small and large, and small and large moves eps d."""
    low, high = FUNCTIONS[name][3]
    tiny, small = [1e-9, -1e-6, 1e-3], [-0.1, 0.3, 0.6, -0.97]
    large = [0.9, -1.1, -2.7, 6.1, -9.3, 42.0, -42.0, 100.0, -100.0]
    if (low, high) == EVERYWHERE:
        a = torch.tensor([0.0, *tiny, *small, *large], dtype=torch.float64)
    elif (low, high) == INSIDE:
        a = torch.tensor([*tiny, *small, 1 - 1e-6, 1e-3 - 1, 1 - 1e-9], dtype=torch.float64)
    else:
        a = low + torch.tensor([*tiny, *small, *large], dtype=torch.float64).abs()
    moves = torch.tensor([1.1e-9, 1.1e-3, 0.19, 0.73, 1.3, 5.3, 96.7], dtype=torch.float64)
    signs = 1 - 2 * torch.arange(len(a) * (len(moves) + 1)).remainder(2).reshape(len(a), -1)
    a, moves = torch.meshgrid(a, torch.cat([moves, torch.zeros(1)]), indexing="ij")
    random = torch.randn(a.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, d = (t.flatten().to(dtype) for t in (a, torch.where(moves == 0, random, signs * moves / (epsilon or 1))))
    at_w = a.double() + epsilon * d.double() * torch.tensor([[1.0], [1 + 1e-6]])
    inside = (a > low) & ((at_w > low) & (at_w < high)).all(0)
    if epsilon == 0:  # at a kink the limit is one-sided, and the derivative torch's convention
        inside &= a != 0
    return a[inside], d[inside]


@pytest.mark.in_turn("epsilon", "dtype")
@pytest.mark.parametrize("dtype", (torch.float64, torch.float32), ids=str)
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_differences_are_exact(name, epsilon, dtype, assert_accurate):
    a, d = points(name, epsilon, dtype)
    assert_accurate(difference(name, epsilon, a, d), FUNCTIONS[name][2], epsilon, (a, d))


@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradient_is_the_derivative_at_w_and_never_nan(name, epsilon):
    a, d = points(name, epsilon, torch.float64)
    d = d.requires_grad_()
    (gradient,) = torch.autograd.grad(difference(name, epsilon, a, d).sum(), d)
    at_w = (a + epsilon * d.detach()).requires_grad_()
    (expected,) = torch.autograd.grad(call(name, at_w).sum(), at_w)
    assert gradient.isfinite().all()
    torch.testing.assert_close(gradient, expected, rtol=1e-6, atol=1e-8)  # hardswish's is so inaccurate


@pytest.mark.parametrize("epsilon", (0.3, 1e-4, 0.0))
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradcheck(name, epsilon):
    a = torch.tensor([0.13, 0.26, 0.45, 0.58, 0.83], dtype=torch.float64)
    a = a + 1 if FUNCTIONS[name][3] == ABOVE_ONE else a
    d = torch.tensor([-0.11, 0.2, -0.35, 0.31, 0.07], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: difference(name, epsilon, a, d), d)


@pytest.mark.parametrize("epsilon", (1e-30, 1e-12, 0.0))
def test_relu_survives_overflow_of_a_over_epsilon(epsilon):
    a = torch.tensor([-1e20, -1.0, 1.0, 1e20])
    d = torch.tensor([3.0, 3.0, 3.0, 3.0])
    torch.testing.assert_close(difference("relu", epsilon, a, d), torch.tensor([0.0, 0.0, 3.0, 3.0]))


@pytest.mark.parametrize("epsilon", EPSILONS)
def test_square_root_stays_at_zero(epsilon):
    """The norm of a vector that stays zero has difference 0, not 0 / 0."""
    zero = torch.zeros(1)
    assert difference("sqrt", epsilon, zero, zero).item() == 0
    assert difference("power 1/2", epsilon, zero, zero).item() == 0


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16), ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_short_types_hold_differences_at_large_alpha(name, dtype):
    """Also where eps d is below the range of the type, as it is in float16."""
    a = torch.tensor([0.21, 0.43, 0.62, 0.85], dtype=dtype) + (FUNCTIONS[name][3] == ABOVE_ONE)
    d = torch.tensor([0.3, -0.2, 0.05, -0.7], dtype=dtype)
    result, expected = difference(name, 1e-7, a, d), difference(name, 1e-7, a.double(), d.double())
    assert result.dtype == dtype
    torch.testing.assert_close(result.double(), expected, rtol=20 * torch.finfo(dtype).eps, atol=0.0)


@pytest.mark.parametrize("name", ("gelu", "erf"))
def test_one_formula_where_it_holds_everywhere_is_that_of_both(name, monkeypatch):
    """The branch that a device answers at once is taken as the one that is computed beside the other."""
    a, d = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    near = difference(name, 1e-2, a, d)
    monkeypatch.setattr(reading, "answers_at_once", lambda device: False)
    torch.testing.assert_close(difference(name, 1e-2, a, d), near, rtol=0, atol=0)


def test_tensors_larger_than_a_piece(monkeypatch):
    """A formula runs on slices of them, whatever their memory format, with the same result."""
    monkeypatch.setattr(pointwise, "PIECE", 2**8)
    a, d = torch.randn(2, 5, 3, 10, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = torch.stack([difference("gelu", 1e-4, *rows) for rows in zip(a, d, strict=True)])
    for layout in (torch.contiguous_format, torch.channels_last):
        result = difference("gelu", 1e-4, a.contiguous(memory_format=layout), d)
        torch.testing.assert_close(result, whole, rtol=0, atol=0)
