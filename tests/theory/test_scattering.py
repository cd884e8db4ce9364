"""The scattering transform against convolutions in space, its identities, and kymatio."""

import math

import numpy as np
import pytest
import torch

from lazytorch.theory.scattering import Scattering


def morlet(shape, scale, angle, angles):
    """psi but for c, in space: the sum over periods of the formula."""
    theta, deviation, slant = math.pi * angle / angles, 0.8 * 2**scale, 4 / angles
    wave, envelope = np.zeros(shape, complex), np.zeros(shape)
    for down in range(-4, 5):
        for across in range(-4, 5):
            y, x = np.mgrid[: shape[0], : shape[1]]
            y, x = y + down * shape[0], x + across * shape[1]
            along, beside = x * np.cos(theta) + y * np.sin(theta), y * np.cos(theta) - x * np.sin(theta)
            gauss = np.exp(-(along**2 + slant**2 * beside**2) / (2 * deviation**2)) * slant
            gauss /= 2 * np.pi * deviation**2
            envelope += gauss
            wave += gauss * np.exp(1j * 3 * np.pi / 4 / 2**scale * along)
    return wave - wave.sum() / envelope.sum() * envelope


def gaussian(shape, octaves):
    deviation, gauss = 0.8 * 2 ** (octaves - 1), np.zeros(shape)
    for down in range(-4, 5):
        for across in range(-4, 5):
            y, x = np.mgrid[: shape[0], : shape[1]]
            gauss += np.exp(-((y + down * shape[0]) ** 2 + (x + across * shape[1]) ** 2) / (2 * deviation**2))
    return gauss / gauss.sum()


def littlewood_paley(psis, phi):
    """|phi^|^2 and the sum of the wavelets', of which the former is left out."""
    squares = sum(np.abs(np.fft.fft2(psi)) ** 2 for psi in psis)
    mirrored = np.roll(squares[::-1, ::-1], (1, 1), (0, 1))
    return np.abs(np.fft.fft2(phi)) ** 2, (squares + mirrored) / 2


def convolution(kernel):
    """The matrix (pixels, pixels) of the periodic convolution with ``kernel``."""
    height, width = kernel.shape
    y, x = (index.ravel() for index in np.mgrid[:height, :width])
    return kernel[(y[:, None] - y) % height, (x[:, None] - x) % width]


def reference(image, octaves, angles):
    """One image (H, W), by convolutions in space alone."""
    step = 2**octaves
    padded = np.pad(image, step, mode="reflect")
    bank = [[morlet(padded.shape, j, angle, angles) for angle in range(angles)] for j in range(octaves)]
    phi = gaussian(padded.shape, octaves)
    lowpass, highpass = littlewood_paley([psi for octave in bank for psi in octave], phi)
    constant = math.sqrt(((1 - lowpass) / highpass).ravel()[1:].min())
    bank = [[constant * convolution(psi) for psi in octave] for octave in bank]
    average = convolution(phi)

    def averaged(signal):
        inside = slice(step, -step)
        return (average @ signal).reshape(padded.shape)[inside, inside][::step, ::step]

    x, first, second = padded.ravel(), [], []
    for scale, octave in enumerate(bank):
        moduli = [np.abs(psi @ x) for psi in octave]
        first += map(averaged, moduli)
        second += [averaged(np.abs(psi @ u)) for coarser in bank[scale + 1 :] for u in moduli for psi in coarser]
    return np.stack([averaged(x), *first, *second])


@pytest.mark.parametrize(("shape", "octaves", "angles"), [((4, 6), 1, 5), ((8, 12), 2, 4), ((16, 16), 3, 4)])
def test_is_the_formula_in_space(shape, octaves, angles):
    images = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scattering = Scattering(shape, octaves, angles)
    found = scattering(images)
    assert found.shape == (2, 3, scattering.paths, shape[0] >> octaves, shape[1] >> octaves)
    expected = reference(images[1, 2].numpy(), octaves, angles)
    np.testing.assert_allclose(found[1, 2].numpy(), expected, atol=1e-12)
    single = scattering.float()(images)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("octaves", "angles", "least"), [(1, 4, 0.15), (2, 8, 0.13), (2, 5, 0.10), (3, 8, 0.12)])
def test_conserves_the_energy_within_its_bounds(octaves, angles, least):
    padded = 32 + 2 * 2**octaves
    wavelets = Scattering((32, 32), octaves, angles).wavelets.flatten(0, 1).numpy()
    psis, phi = np.fft.ifft2(wavelets), gaussian((padded, padded), octaves)
    sums = sum(littlewood_paley(psis, phi))
    assert sums.max() == pytest.approx(1, abs=1e-12) and least < sums.min() < least + 0.04
    image = np.random.default_rng(0).standard_normal((padded, padded))
    spectrum = np.fft.fft2(image)
    energies = [np.abs(np.fft.ifft2(spectrum * band)) ** 2 for band in (np.fft.fft2(phi), *wavelets)]
    assert least < np.sum(energies) / np.sum(image**2) <= 1


def test_is_covariant_with_translations_by_its_sampling():
    image = torch.zeros(2, 1, 1, 96, 96, dtype=torch.float64)
    patch = torch.rand(9, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    image[0, ..., 42:51, 46:53] = patch
    image[1, ..., 46:55, 38:45] = patch  # 4 down, 8 to the left
    here, there = map(Scattering((96, 96)), image)
    torch.testing.assert_close(there, here.roll((1, -2), (-2, -1)), rtol=0, atol=1e-9)
    assert (here[:, :, 1:].amax((-2, -1)) > 1e-5).all()


def test_reflection_about_the_diagonal_reflects_the_angles():
    images = torch.randn(1, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scattering = Scattering((16, 16), octaves=2, angles=4)
    found, mirrored = scattering(images)[0, 0], scattering(images.mT)[0, 0].mT
    angles = [2, 1, 0, 3]  # theta -> pi / 2 - theta
    torch.testing.assert_close(mirrored[0], found[0])
    torch.testing.assert_close(mirrored[1:9].unflatten(0, (2, 4)), found[1:9].unflatten(0, (2, 4))[:, angles])
    second, other = (values[9:].unflatten(0, (4, 4)) for values in (found, mirrored))
    torch.testing.assert_close(other, second[angles][:, angles])


def test_a_constant_image_has_its_mean_alone():
    found = Scattering((8, 8))(torch.full((1, 1, 8, 8), 0.7))
    torch.testing.assert_close(found[:, :, 0], torch.full((1, 1, 2, 2), 0.7, dtype=torch.float64), rtol=0, atol=1e-7)
    assert found[:, :, 1:].abs().max() < 1e-12


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((30, 32),), "30x32 pixels have no scattering of 2 octaves: .* multiples of 4 above 4, as 32x32"),
        (((4, 8),), "as 8x8"),
        (((32, 32), 0), "at least 1 octave and 4 angles"),
        (((32, 32), 2, 3), "at least 1 octave and 4 angles"),
    ],
)
def test_what_has_no_scattering_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Scattering(*arguments)


def test_is_kymatios_but_for_a_constant_and_aliasing():
    """Where it is installed: its last release is of 2022, on which no development environment should depend."""
    kymatio = pytest.importorskip("kymatio")
    images = torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(images, size=(32, 32), mode="bicubic")
    theirs = kymatio.Scattering2D(J=2, shape=(32, 32), frontend="torch")(images)[:, 0]
    ours = Scattering((32, 32)).float()(images)[:, 0]
    turned = [(angle + 1) % 8 for angle in range(8)]  # theirs begin at another angle
    constant = 1.0422
    first, second = ours[:, 1:17].unflatten(1, (2, 8))[:, :, turned], ours[:, 17:].unflatten(1, (8, 8))
    first, second = first / constant, second[:, turned][:, :, turned].flatten(1, 2) / constant**2
    torch.testing.assert_close(ours[:, 0], theirs[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first[:, 0], theirs[:, 1:9], rtol=1e-3, atol=1e-5)
    for mine, other in ((first[:, 1], theirs[:, 9:17]), (second, theirs[:, 17:])):
        assert (mine - other).norm() < 0.02 * other.norm()
