"""Rules that are not pointwise, at every epsilon: against the subtraction of two evaluations in float64 where that is
accurate, the operator's derivative at epsilon = 0, and the same rule in float64 where epsilon is small."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lazytorch.differences import Pair, Program

EPSILONS = (0.5, 1e-2, 1e-4, 1e-7, 1e-12, 0.0)
INDEX = torch.tensor([[2, 0, 1], [1, 1, 3]])


class Function(nn.Module):
    """A function of parameters of the given shapes."""

    def __init__(self, function, *shapes):
        super().__init__()
        self.function = function
        self.values = nn.ParameterList(nn.Parameter(torch.empty(shape)) for shape in shapes)

    def forward(self):
        return self.function(*self.values)


def first_of(operator, *args, **kwargs):
    return lambda x: operator(x, *args, **kwargs)[0]


def chosen(x):
    """Of a (2, 4) tensor: where its largest elements are, by an index that depends on it."""
    return torch.arange(4) == x.argmax(1, keepdim=True)


def bag(mode):
    offsets = torch.tensor([0, 2, 2, 5])
    indices = torch.tensor([1, 2, 0, 4, 3, 3])
    return lambda w: F.embedding_bag(indices, w, offsets, mode=mode)


def spectrum(x):
    return torch.fft.irfft2(torch.fft.rfft2(x) * torch.fft.rfft2(x).conj(), s=(4, 5))


LINEAR = {
    "as_strided": (lambda x: x.expand(2, 4, 5).contiguous().as_strided((3, 3), (11, 1), 2), (4, 5)),
    "average pools in 1d": (lambda x: F.avg_pool1d(x, 2) + F.adaptive_avg_pool1d(x, 3), (2, 3, 6)),
    "average pools in 3d": (lambda x: F.avg_pool3d(x, 2) + F.adaptive_avg_pool3d(x, 2), (3, 4, 4, 4)),
    "cumsum, diagonal, roll": (lambda x: x.cumsum(0).diagonal() + x.roll(2, 1).diagonal(), (4, 5)),
    "fold, unfold": (lambda x: F.fold(3 * F.unfold(x, 2, padding=1), (4, 4), 2, padding=1), (1, 2, 4, 4)),
    "Fourier": (lambda x: torch.fft.fft2(x).real + torch.fft.ifft(x).imag, (4, 5)),
    "circular padding": (lambda x: F.pad(x, (1, 2), mode="circular"), (2, 3, 4)),
    "reflection padding": (lambda x: F.pad(x, (1, 2, 1, 0), mode="reflect"), (2, 3, 4, 4)),
    "replication padding": (lambda x: F.pad(x, (1, 2), mode="replicate"), (2, 3, 4)),
    "repeat": (lambda x: x.repeat(2, 3).repeat_interleave(2, 0), (2, 3)),
    "split, unbind, chunk, stack": (
        lambda x: torch.stack([*x.split([1, 3], 1)[1].unbind(1), *x.chunk(2, 1)[0].unbind(1)]),
        (3, 4),
    ),
    "triangles": (lambda x: x.tril() - x.triu(1), (4, 5)),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2) + F.interpolate(x, size=(8, 6), mode="area"), (1, 2, 4, 3)),
    "bilinear": (lambda x: F.interpolate(x, size=(7, 5), mode="bilinear", antialias=True), (1, 2, 4, 3)),
    "bicubic": (lambda x: F.interpolate(x, size=(7, 5), mode="bicubic"), (1, 2, 4, 3)),
    "tensor unfold": (lambda x: x.unfold(1, 3, 2), (2, 7)),
    "writing to a slice": (lambda x, y: torch.slice_scatter(x * x, y, 1, 1, 3), (2, 4), (2, 2)),
}

SELECTION = {
    "embedding": (lambda w: F.embedding(INDEX, w), (4, 5)),
    "embedding bag, sum": (bag("sum"), (5, 3)),
    "embedding bag, mean": (bag("mean"), (5, 3)),
    "gather by a computed index": (lambda x, y: x.gather(1, y.topk(2, 1)[1]), (2, 4), (2, 4)),
    "index by a computed index": (lambda x, y: x[y.argmin(1)], (4, 3), (2, 4)),
    "index_put": (lambda x, y: x.index_put((y.argmax(1), INDEX[:, 0]), y[:, 0], accumulate=True), (4, 4), (2, 4)),
    "masked_scatter": (lambda x, y: (x * x).masked_scatter(chosen(y), y), (2, 4), (2, 4)),
    "scatter": (lambda x, y: torch.scatter(x * x, 1, y.topk(2, 1)[1], y[:, 1:3]), (2, 4), (2, 4)),
    "scatter of a number": (lambda x, y: torch.scatter(x * x, 1, y.topk(2, 1)[1], 3.0), (2, 4), (2, 4)),
    "scatter_add": (lambda x, y: torch.scatter_add(x * x, 1, INDEX, y), (2, 4), (2, 3)),
    "scatter_reduce": (lambda x, y: torch.scatter_reduce(x * x, 1, INDEX, y, "mean"), (2, 4), (2, 3)),
    "where": (lambda x, y: torch.where(chosen(y), x, 2 * y), (2, 4), (2, 4)),
    "masked_select": (lambda x: (x * x).masked_select(INDEX[0] > 0), (2, 3)),
    "masked_fill": (lambda x: x.masked_fill(chosen(x), 0.5), (2, 4)),
    "top-k gating": (lambda x, y: (F.softmax(x.topk(2)[0], -1) * y.gather(1, x.topk(2)[1])).sum(1), (2, 4), (2, 4)),
    "vector quantization": (lambda x, w: F.embedding(torch.cdist(x, w).argmin(1), w) - x, (5, 2), (3, 2)),
    "max unpooling": (lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), (2, 4, 4)),
}

ORDER = {
    "amax": (lambda x: x.amax((0, 2)), (3, 4, 2)),
    "amin": (lambda x: x.amin(1, keepdim=True), (3, 4)),
    "max": (lambda x: x.max(1)[0] + x.max(), (3, 4)),
    "min": (lambda x: x.min(0, keepdim=True)[0] * x.min(), (3, 4)),
    "cummax": (first_of(torch.cummax, 1), (3, 5)),
    "kthvalue": (first_of(torch.kthvalue, 3, 0), (5, 3)),
    "median": (lambda x: x.median(1)[0] + x.median(), (3, 5)),
    "sort": (lambda x: x.sort(0, descending=True)[0], (5, 3)),
    "stable sort": (lambda x: x.sort(dim=1, stable=True)[0], (3, 5)),
    "topk": (first_of(torch.topk, 3), (3, 7)),
    "topk of the smallest": (first_of(torch.topk, 2, 0, largest=False), (7, 3)),
}

PLACES = torch.tensor([[0, 1, 0, 4], [0, 3, 3, 1], [1, 0, 0, 4]])


def scattered(reduce, include_self):
    def function(x, y):
        return x.scatter_reduce(0, PLACES, y, reduce, include_self=include_self)

    return function


SEGMENTS = {
    f"{reduce} of segments{', with what was there' * own}": (scattered(reduce, own), (5, 4), (3, 4))
    for reduce in ("amax", "amin", "mean", "sum")
    for own in (False, True)
}

POOLING = {
    "max pool in 1d": (lambda x: F.max_pool1d(x, 3, 2, 1), (2, 3, 9)),
    "max pool in 3d": (lambda x: F.max_pool3d(x, (3, 2, 2), 2, 1, ceil_mode=True), (2, 5, 4, 6)),
    "adaptive max pool in 1d": (lambda x: F.adaptive_max_pool1d(x, 3), (2, 3, 7)),
    "adaptive max pool in 2d": (lambda x: F.adaptive_max_pool2d(x, (3, 2)), (2, 3, 7, 6)),
    "adaptive max pool in 3d": (lambda x: F.adaptive_max_pool3d(x, 2), (2, 3, 4, 5)),
}

REDUCTION = {
    "logcumsumexp": (lambda x: (x / 10).logcumsumexp(1) + x.logcumsumexp(0), (3, 7)),
    "cumprod": (lambda x: x.cumprod(1), (3, 4)),
    "norm": (lambda x: torch.linalg.vector_norm(x, dim=1), (3, 4)),
    "norm of all": (lambda x: x.norm(), (3, 4)),
    "prod": (lambda x: x.prod(0), (4, 3)),
    "prod of all": (lambda x: x.prod(), (4,)),
    "var": (lambda x: x.var(1, correction=0) + torch.var_mean(x, (0, 1))[0], (3, 4)),
    "std": (lambda x: x.std(0), (4, 3)),
}

MATRICES = {
    "inverse": (lambda x: torch.linalg.inv(x), (2, 3, 3)),
    "exponential": (lambda x: torch.linalg.matrix_exp(x / 100), (3, 3)),
    "solve": (lambda x, y: torch.linalg.solve(x, y) + torch.linalg.solve(x, y[:, 0]).unsqueeze(1), (3, 3), (3, 2)),
    "solve from the right": (lambda x, y: torch.linalg.solve(x, y, left=False), (3, 3), (2, 3)),
    "trilinear": (lambda x, w: F.bilinear(x, x * x, w), (5, 3), (2, 3, 3)),
    "sum of batched products": (lambda x, y: torch.addbmm(x, y, y), (3, 3), (4, 3, 3)),
    "distances": (lambda x, y: torch.cdist(x, y) + torch.cdist(y, x).T, (3, 2), (4, 2)),
    "spectrum": (spectrum, (4, 5)),
    "complex modulus": (lambda x, y: torch.complex(x, y).abs(), (3, 4), (3, 4)),
}


def definite(x):
    return x @ x.mT / 100 + 100 * torch.eye(x.shape[-1], dtype=x.dtype)


def triangular(**options):
    """Of a system whose matrix has what is no part of the triangle."""
    return lambda x, y: torch.linalg.solve_triangular(x + 300 * torch.eye(3, dtype=x.dtype), y, **options)


def of_qr(function, **options):
    return lambda x: function(*torch.linalg.qr(x, **options))


FACTORS = {
    "determinant": (torch.linalg.det, (2, 3, 3)),
    "logarithm of a determinant": (lambda x: torch.stack(torch.linalg.slogdet(x)), (2, 4, 4)),
    "logdet": (lambda x: definite(x).logdet(), (4, 4)),
    "Cholesky": (lambda x: torch.linalg.cholesky(definite(x)), (2, 3, 3)),
    "upper Cholesky": (lambda x: torch.linalg.cholesky(definite(x), upper=True), (3, 3)),
    "solve by Cholesky": (lambda x, y: torch.cholesky_solve(y, torch.linalg.cholesky(definite(x))), (3, 3), (3, 2)),
    "inverse by Cholesky": (lambda x: torch.cholesky_inverse(definite(x).triu(), upper=True), (3, 3)),
    "LU": (lambda x: torch.cat(torch.linalg.lu(x + 300 * torch.eye(3, dtype=x.dtype)), -1), (2, 3, 3)),
    "pseudoinverse": (torch.linalg.pinv, (2, 4, 3)),
    "pseudoinverse of a wide matrix": (torch.linalg.pinv, (3, 4)),
    "pseudoinverse of low rank": (lambda x: torch.linalg.pinv(x[:, :2] @ x[:2], rtol=1e-5), (4, 4)),
    "Hermitian pseudoinverse": (lambda x: torch.linalg.pinv(x + x.mT, hermitian=True), (3, 3)),
    "polygamma": (lambda x: torch.polygamma(2, (x + 300) / 100), (3, 4)),
    "normal quantile": (lambda x: torch.special.ndtri((x + 300) / 600), (3, 4)),
    "QR": (of_qr(lambda q, r: torch.cat([q, r / 100], -2)), (2, 5, 3)),
    "QR of a wide matrix": (of_qr(lambda q, r: torch.cat([q, r / 100], -1), mode="complete"), (3, 4)),
    "triangular system": (triangular(upper=True), (3, 3), (3, 2)),
    "triangular system from the right": (triangular(upper=False, left=False), (3, 3), (2, 3)),
    "unitriangular system": (lambda x, y: triangular(upper=False, unitriangular=True)(x / 100, y), (3, 3), (3, 2)),
}


def of_complex(function):
    """A function of two complex tensors, as one of their real and imaginary parts."""

    def of_parts(x, y):
        out = function(torch.complex(x, y), torch.complex(y, x.flip(0)))
        return torch.cat([out.real, out.imag])

    return of_parts


def filled(z, w):
    out = torch.zeros(3, 6, dtype=z.dtype)
    out[:, 1:5] = z
    out[:, -4:] *= w
    out[..., 0] = z[:, 1] * 2
    out[1] = 2 * out[0]
    out.diagonal().copy_(w[:, 0])
    return out


def _complex_cases():
    functions = {
        "product": lambda z, w: z @ w.mT,
        "product with an adjoint": lambda z, w: (z.conj() * w) @ z.mH,
        "linear": lambda z, w: F.linear(z, w, w[:3, 0]),
        "Fourier layer": lambda z, w: torch.fft.fft(torch.einsum("ij,jik->jk", torch.fft.fft(z), w.T.unsqueeze(-1))),
        "quotient": lambda z, w: z / (w + 300),
        "exp": lambda z, w: (z / 100).exp() * w,
        "steep exp": lambda z, w: (z / 10).exp(),
        "log": lambda z, w: (z + 300).log(),
        "log across its cut": lambda z, w: z.log(),
        "tanh": lambda z, w: (z / 100).tanh(),
        "sigmoid": lambda z, w: (z / 100).sigmoid(),
        "steep sigmoid": lambda z, w: (z / 10).sigmoid(),
        "circular and hyperbolic": lambda z, w: (z / 100).sin() * (w / 100).cosh() + (z / 300).tan(),
        "roots and powers": lambda z, w: (z + 300).sqrt() + w**3 / 1000 + (w + 300).reciprocal(),
        "slice assignment": filled,
    }
    cases = {name: (of_complex(function), (3, 4), (3, 4)) for name, function in functions.items()}
    batches = of_complex(lambda z, w: z @ w.mT)
    convolution = of_complex(lambda z, w: F.conv1d(z, w[:, :, :2]))
    cases |= {
        "batches of products": (batches, (2, 3, 4), (2, 3, 4)),
        "convolution": (convolution, (2, 2, 4), (2, 2, 4)),
    }
    return {f"complex {name}": case for name, case in cases.items()}


CASES = LINEAR | SELECTION | ORDER | SEGMENTS | POOLING | REDUCTION | MATRICES | FACTORS | _complex_cases()


@functools.cache
def program_of(case, dtype):
    function, *shapes = CASES[case]
    net = Function(function, *shapes).to(dtype)
    program = Program(net, dict(net.named_parameters()), (), {})
    program.check_rules(set(program.names.values()), 0.5)
    return program


def difference(case, epsilon, a, d):
    pairs = [Pair(*both) for both in zip(a, d, strict=True)]
    return program_of(case, a[0].dtype)(epsilon, pairs, []).difference


def points(case, epsilon, move):
    """Values |a| <= 100 and differences |eps d| <= ``move`` (|d| <= ``move`` at epsilon = 0), all exact in float32."""
    generator = torch.Generator().manual_seed(0)
    draws = [torch.rand(2, *shape, generator=generator) * 2 - 1 for shape in CASES[case][1:]]
    return [100 * a.double() for a, _ in draws], [(move / (epsilon or 1) * d).double() for _, d in draws]


def with_gradients(function, d):
    """The output, and the gradients of a fixed linear function of it."""
    d = [t.clone().requires_grad_() for t in d]
    output = function(*d)
    cotangent = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return output.detach(), torch.autograd.grad(output, d, cotangent, materialize_grads=True)


@pytest.mark.in_turn("epsilon", "move")
@pytest.mark.parametrize("move", (1e-2, 1.0, 100.0))
@pytest.mark.parametrize("epsilon", (1.0, 0.5, 1e-2, 1e-4))
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_subtraction(case, epsilon, move):
    function, (a, d) = CASES[case][0], points(case, epsilon, move)

    def subtraction(*d):
        return (function(*(x + epsilon * y for x, y in zip(a, d, strict=True))) - function(*a)) / epsilon

    output, gradients = with_gradients(lambda *d: difference(case, epsilon, a, d), d)
    expected, expected_gradients = with_gradients(subtraction, d)
    rounding = 1e-12 * function(*a).abs().max().item() / epsilon
    torch.testing.assert_close(output, expected, rtol=1e-11, atol=rounding)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-9, atol=1e-9 * reference.abs().max().item())


@pytest.mark.in_turn("epsilon", "move")
@pytest.mark.parametrize("move", (1e-2, 100.0))
@pytest.mark.parametrize("epsilon", EPSILONS)
@pytest.mark.parametrize("case", CASES)
def test_float32_agrees_with_float64(case, epsilon, move):
    a, d = points(case, epsilon, move)
    expected = difference(case, epsilon, a, d)
    a, d = ([t.float() for t in part] for part in (a, d))
    output, gradients = with_gradients(lambda *d: difference(case, epsilon, a, d), d)
    assert (output - expected).norm() <= 1e-5 * expected.norm()
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("case", CASES)
def test_limit_is_the_derivative(case):
    a, d = points(case, 0.0, 1.0)
    jacobians = torch.autograd.functional.jacobian(CASES[case][0], tuple(a))
    expected = sum(torch.tensordot(j, t, t.dim()) for j, t in zip(jacobians, d, strict=True))
    torch.testing.assert_close(difference(case, 0.0, a, d), expected, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("epsilon", (0.3, 1e-7, 0.0))
@pytest.mark.parametrize("case", CASES)
def test_gradcheck(case, epsilon):
    a, d = points(case, 1.0, 1.0)
    d = [t.requires_grad_() for t in d]
    assert torch.autograd.gradcheck(lambda *d: difference(case, epsilon, a, d), d, rtol=1e-4, fast_mode=True)
