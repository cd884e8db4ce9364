"""The scattering transform of order two over Morlet wavelets: the prior features of Oyallon & Mallat (2015)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ALIASES = range(-2, 3)  # multiples of the sampling frequency where the envelopes below are not zero in float64


class Scattering(nn.Module):
    """S x = (x * phi, |x * psi_a| * phi, ||x * psi_a| * psi_b| * phi), sampled every 2^J pixels, b coarser than a.

    psi_a runs over ``octaves`` = J octaves j = 0 ... J - 1 and ``angles`` = L directions theta = l pi / L:

        psi(u) = c s / (2 pi sigma^2) (e^{i xi . u} - kappa) exp(-(v_1^2 + s^2 v_2^2) / (2 sigma^2)),
        v = (u along theta, u across), sigma = 0.8 2^j, |xi| = 3 pi / (4 2^j) along theta, s = 4 / L,

    with kappa such that the mean of psi is 0; phi is a Gaussian of standard deviation 0.8 2^(J - 1) and sum 1. The one
    constant c is the largest for which the Littlewood-Paley sum

        A(w) = |phi^(w)|^2 + sum_a (|psi_a^(w)|^2 + |psi_a^(-w)|^2) / 2

    nowhere exceeds 1: the energies of x * phi and of all x * psi_a sum to between min A and 1 times that of x, with
    min A = 0.13 for J = 2, L = 8, so that S before its sampling brings no two images further apart. Images are
    continued by reflection, 2^J pixels a side, and from there periodically. All moduli are taken at every pixel, so
    that nothing is aliased.

    Kymatio (Andreux et al. 2020) has c = 1 and samples each modulus at the scale of its wavelet: its coefficients are
    these over c^order (c = 1.042 for J = 2, L = 8), but for its aliasing, 1 % in norm on photographs.

    Args:
        shape: (H, W) of the images.
        octaves: J, the octaves.
        angles: L, at least 4.

    Raises:
        ValueError: the sides are not multiples of 2^J above 2^J, or ``octaves`` or ``angles`` are too small.

    Cost: 1 + (2 J - 1) L + J (J - 1) L^2 / 2 Fourier transforms of (H + 2^(J + 1), W + 2^(J + 1)) an image channel,
    which is 6 ms an RGB image of 32x32 on one CPU thread, in batches of 8.

    Source: E. Oyallon, S. Mallat, Deep roto-translation scattering for object classification, CVPR 2015; J. Bruna,
    S. Mallat, Invariant scattering convolution networks, PAMI 2013.
    """

    wavelets: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, shape: tuple[int, int], octaves: int = 2, angles: int = 8):
        super().__init__()
        if octaves < 1 or angles < 4:
            raise ValueError(f"octaves={octaves}, angles={angles}: give at least 1 octave and 4 angles")
        step = 2**octaves
        if any(side % step or side <= step for side in shape):
            raise ValueError(
                f"images of {shape[0]}x{shape[1]} pixels have no scattering of {octaves} octaves: their sides must be "
                f"multiples of {step} above {step}, as {max(2, round(shape[0] / step)) * step}x"
                f"{max(2, round(shape[1] / step)) * step}"
            )
        self.step, deviation = step, 0.8 * step / 2
        padded = tuple(side + 2 * step for side in shape)
        self.register_buffer("wavelets", _wavelets(padded, octaves, angles, deviation))
        self.register_buffer("rows", _average(padded[0], deviation, step))
        self.register_buffer("columns", _average(padded[1], deviation, step))

    @property
    def paths(self) -> int:
        """Coefficients at a point: 1 + J L + J (J - 1) / 2 L^2."""
        octaves, angles = self.wavelets.shape[:2]
        return 1 + octaves * angles + octaves * (octaves - 1) // 2 * angles**2

    def forward(self, images: Tensor) -> Tensor:
        """(n, C, H, W) real -> (n, C, paths, H / 2^J, W / 2^J): order 0; then by octave and angle; then by both octaves
        and both angles. In the type of the buffers, which is float64 unless the module is moved to another.

        Memory: about 16 L^2 H W bytes an image channel in float32.
        """
        padded = F.pad(images.to(self.rows.dtype), [self.step] * 4, mode="reflect")
        spectrum = torch.fft.fft2(padded)[:, :, None]
        first, second = [], []
        for scale, wavelets in enumerate(self.wavelets):
            moduli = torch.fft.ifft2(spectrum * wavelets).abs()
            first.append(self._average(moduli))
            if scale + 1 < len(self.wavelets):
                spectra = torch.fft.fft2(moduli)[:, :, :, None]
            for coarser in self.wavelets[scale + 1 :]:
                second.append(self._average(torch.fft.ifft2(spectra * coarser).abs()).flatten(2, 3))
        return torch.cat([self._average(padded)[:, :, None], *first, *second], dim=2)

    def _average(self, moduli: Tensor) -> Tensor:
        """(moduli * phi) at every 2^J-th pixel of the image, the reflected border cut off."""
        return self.rows @ moduli @ self.columns.T


def _wavelets(shape: tuple[int, int], octaves: int, angles: int, deviation: float) -> Tensor:
    """The Fourier transforms of all psi (J, L, H, W), which are real, on the frequencies of a periodic (H, W)."""
    down, across = (2 * math.pi * torch.fft.fftfreq(side, dtype=torch.float64) for side in shape)
    bank = torch.stack(
        [_morlet(down[:, None], across, scale, angle, angles) for scale in range(octaves) for angle in range(angles)]
    )
    energy = bank.square().sum(0)
    energy = (energy + energy.flip(0, 1).roll((1, 1), (0, 1))) / 2
    lowpass = _gaussian(down, deviation)[:, None] * _gaussian(across, deviation)
    room = (1 - lowpass.square()) / energy
    return bank.unflatten(0, (octaves, angles)) * room.flatten()[1:].min().sqrt()  # at frequency 0 both vanish


def _morlet(down: Tensor, across: Tensor, scale: int, angle: int, angles: int) -> Tensor:
    """psi^ but for c: by Poisson's formula the aliases of the continuous transform, summed."""
    theta, deviation, slant = math.pi * angle / angles, 0.8 * 2**scale, 4 / angles
    centre = 3 * math.pi / 4 / 2**scale
    wave, envelope = torch.zeros(2, len(down), len(across), dtype=torch.float64)
    for i in ALIASES:
        for j in ALIASES:
            x, y = across + 2 * math.pi * i, down + 2 * math.pi * j
            along, beside = x * math.cos(theta) + y * math.sin(theta), y * math.cos(theta) - x * math.sin(theta)
            wave += torch.exp(-((along - centre).square() + (beside / slant).square()) * deviation**2 / 2)
            envelope += torch.exp(-(along.square() + (beside / slant).square()) * deviation**2 / 2)
    return wave - wave[0, 0] / envelope[0, 0] * envelope


def _gaussian(frequencies: Tensor, deviation: float) -> Tensor:
    """The transform of the Gaussian of sum 1, sampled on a line."""
    aliases = torch.stack([frequencies + 2 * math.pi * i for i in ALIASES])
    transform = torch.exp(-(deviation * aliases).square() / 2).sum(0)
    return transform / transform[0]


def _average(side: int, deviation: float, step: int) -> Tensor:
    """(side / step - 2, side): the convolution with the Gaussian, at every step-th point inside the border."""
    frequencies = 2 * math.pi * torch.fft.fftfreq(side, dtype=torch.float64)
    kernel = torch.fft.ifft(_gaussian(frequencies, deviation)).real
    at, to = torch.arange(step, side - step, step)[:, None], torch.arange(side)
    return kernel[(at - to) % side]
