"""Phase congruency: where an image has features, from how well its frequencies agree in phase."""

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SCALES = 4
ORIENTATIONS = 6
SMALLEST_WAVELENGTH = 3.0  # pixels, at the finest scale
WAVELENGTH_RATIO = 2.1  # from one scale to the next
RADIAL_SIGMA = 0.55  # of the log-Gabor filters, as a share of their centre frequency
ANGULAR_SIGMA = math.pi / ORIENTATIONS / 1.2
LOW_PASS_CUTOFF = 0.45  # cycles a pixel; keeps the corners of the spectrum out
LOW_PASS_ORDER = 15
NOISE_DEVIATIONS = 2.0  # above the noise's mean, below which energy does not count
NOISE_DIVISOR = 1.7
SPREAD_CUTOFF = 0.5
SPREAD_GAIN = 10.0
EPSILON = 1e-4
# How many of them a CPU keeps: 10 MB each at 640x480 in float32, and a tenth of a second to build.
FILTERS_KEPT = 4


def phase_congruency(images: Tensor) -> Tensor:
    """Phase congruency of each image, and how it varies with orientation.

    `images`: `(N, 1, H, W)`, 0..255. Returns `(N, 3, H, W)`: phase congruency over all orientations, 0..1,
    and the largest and the smallest moment of its covariance, 0 and more (edges and corners). NaN moments
    where no filter responds at all, which is to say on black images.

    Log-Gabor filters of 4 scales and 6 orientations, the borders taken as periodic, the noise estimated from
    the median response of the finest scale: Kovesi 1999, Videre 1 (3), with the scaling of the covariance and the
    frequencies of odd sizes as in Liu et al. 2012, https://doi.org/10.1109/TPAMI.2011.109
    """
    # One at a time on a CPU, where an image's responses of one orientation just fit the cache.
    pieces = torch.split(images, 1) if images.device.type == "cpu" else (images,)
    return torch.cat([_phase_congruency(piece[:, 0]) for piece in pieces])


class LogGaborFilters(NamedTuple):
    """Filters of one image size, on half the frequency plane; a filter is a radial times an angular part.

    The real part of a response comes from the even part of the filter, the imaginary from the odd one: two real
    transforms instead of a complex one.
    """

    radial: Tensor  # (S, H, W // 2 + 1)
    even: Tensor  # (O, H, W // 2 + 1), the angular parts
    odd: Tensor
    noise: list[float]  # O thresholds of the energy, for a median response of 1


def _phase_congruency(images: Tensor) -> Tensor:
    """As `phase_congruency`, of images `(N, H, W)`."""
    size = images.shape[-2:]
    filters = log_gabor_filters(size[0], size[1], images.dtype, images.device)
    spectrum = _columns_first(torch.fft.rfft2(images))
    real_spectra = [spectrum * radial for radial in filters.radial]
    imaginary_spectra = [spectrum * -1j for spectrum in real_spectra]
    strength, amplitudes, xx, yy, xy = images.new_zeros(5, *images.shape)
    for orientation in range(ORIENTATIONS):
        # A batch of all the scales takes twice as long on a CPU.
        real = [torch.fft.irfft2(spectrum * filters.even[orientation], s=size) for spectrum in real_spectra]
        imaginary = [torch.fft.irfft2(spectrum * filters.odd[orientation], s=size) for spectrum in imaginary_spectra]
        energy, amplitude = _energy(real, imaginary, filters.noise[orientation])
        strength += energy
        amplitudes += amplitude
        square = energy.div_(amplitude).square_()
        angle = orientation * math.pi / ORIENTATIONS
        xx.add_(square, alpha=math.cos(angle) ** 2 / 3)
        yy.add_(square, alpha=math.sin(angle) ** 2 / 3)
        xy.add_(square, alpha=math.cos(angle) * math.sin(angle) / 6)
    strength.div_(amplitudes.add_(EPSILON))
    difference = (xx - yy).square_().addcmul_(xy, xy).sqrt_().add_(EPSILON)
    trace = xx.add_(yy)
    return torch.stack([strength, (trace + difference).div_(2), (trace - difference).div_(2)], dim=1)


def _energy(real: list[Tensor], imaginary: list[Tensor], noise: float) -> tuple[Tensor, Tensor]:
    """Weighted local energy above the noise, and the sum of the amplitudes, of one orientation, `(N, H, W)`."""
    squares = [x.square().addcmul_(y, y) for x, y in zip(real, imaginary, strict=True)]
    threshold = noise * _median(squares[0]).sqrt_()
    amplitudes = [square.sqrt_() for square in squares]
    amplitude, largest = _sum(amplitudes), functools.reduce(torch.maximum, amplitudes)
    spread = amplitude / largest.add_(EPSILON).mul_(SCALES)
    real_sum, imaginary_sum = _sum(real), _sum(imaginary)
    across = _sum(
        [(x * imaginary_sum).addcmul_(y, real_sum, value=-1).abs_() for x, y in zip(real, imaginary, strict=True)]
    )
    along = real_sum.square_().addcmul_(imaginary_sum, imaginary_sum)
    energy = (along - across).div_(along.sqrt_().add_(EPSILON)).sub_(threshold[:, None, None]).clamp_min_(0)
    weight = spread.sub_(SPREAD_CUTOFF).mul_(SPREAD_GAIN).sigmoid_()
    return energy.mul_(weight), amplitude


def _sum(maps: list[Tensor]) -> Tensor:
    return functools.reduce(torch.Tensor.add_, maps[1:], maps[0].clone())


def _median(images: Tensor) -> Tensor:
    """Median of each `(N, H, W)`; of an even count the mean of the middle two, unlike torch.median."""
    pixels = images.flatten(1)
    middle = pixels.shape[1] // 2
    if pixels.device.type == "cpu":
        # A tenth of the time that kthvalue and median take.
        ordered = torch.from_numpy(np.partition(pixels.detach().numpy(), middle, axis=1))
    else:
        ordered = pixels.sort(dim=1).values
    upper = ordered[:, middle]
    return upper if pixels.shape[1] % 2 else (ordered[:, :middle].amax(1) + upper) / 2


@functools.lru_cache(FILTERS_KEPT)
@torch.inference_mode(mode=False)
def log_gabor_filters(height: int, width: int, dtype: torch.dtype, device: torch.device) -> LogGaborFilters:
    """Return the filters of an image size; the same tensors to all who ask."""
    y, x = torch.meshgrid(_frequencies(height, device), _frequencies(width, device), indexing="ij")
    radius = (x.square() + y.square()).sqrt()
    radius[0, 0] = 1
    theta = torch.atan2(-y, x)
    scale = torch.arange(SCALES, dtype=torch.float64, device=device)[:, None, None]
    wavelength = SMALLEST_WAVELENGTH * WAVELENGTH_RATIO**scale
    radial = (-(radius * wavelength).log().square() / (2 * math.log(RADIAL_SIGMA) ** 2)).exp()
    radial[:, 0, 0] = 0
    angle = torch.arange(ORIENTATIONS, dtype=torch.float64, device=device)[:, None, None] * (math.pi / ORIENTATIONS)
    distance = torch.remainder(theta - angle + math.pi, 2 * math.pi) - math.pi
    angular = (-distance.square() / (2 * ANGULAR_SIGMA**2)).exp() * _low_pass(height, width, device)
    opposite = angular.flip(1, 2).roll((1, 1), (1, 2))
    even, odd = (angular + opposite) / 2, (angular - opposite) / 2

    finest = (radial[0] * angular).square().sum((1, 2))
    together = (radial.sum(0) * even).square().sum((1, 2))
    deviation = (together / finest / math.log(2)).sqrt()
    noise = deviation * (math.sqrt(math.pi / 2) + NOISE_DEVIATIONS * math.sqrt(2 - math.pi / 2)) / NOISE_DIVISOR
    radial, even, odd = (_columns_first(part[..., : width // 2 + 1].to(dtype)) for part in (radial, even, odd))
    return LogGaborFilters(radial, even, odd, noise.tolist())


def _columns_first(plane: Tensor) -> Tensor:
    """Lay `(..., H, W)` out as the inverse transform walks over it, columns first: a sixth less time on a CPU."""
    return plane.mT.contiguous().mT


def _frequencies(count: int, device: torch.device) -> Tensor:
    """Cycles a pixel in the order of the FFT; an odd count is divided by `count - 1`, as the original does."""
    index = torch.arange(count, dtype=torch.float64, device=device) - count // 2
    frequencies: Tensor = torch.fft.ifftshift(index / (count - count % 2))
    return frequencies


def _low_pass(height: int, width: int, device: torch.device) -> Tensor:
    """Butterworth low-pass; with an odd count it sits a sample off the other filters, as in the original."""
    y, x = (
        torch.fft.fftshift((torch.arange(count, dtype=torch.float64, device=device) - count // 2) / count)
        for count in (height, width)
    )
    radius: Tensor = (y[:, None].square() + x.square()).sqrt()
    return (radius / LOW_PASS_CUTOFF).pow_(2 * LOW_PASS_ORDER).add_(1).reciprocal_()
