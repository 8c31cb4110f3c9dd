"""Phase congruency: where an image has features, from how well its frequencies agree in phase."""

import math
from functools import lru_cache
from typing import NamedTuple

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
    the median response of the finest scale. Kovesi 1999, Videre 1 (3); the scaling of the covariance
    is that of the code published with Zhao et al. 2007, https://doi.org/10.1109/TIM.2007.907934
    """
    # One at a time on a CPU, where an image's responses of one orientation just fit the cache.
    pieces = images.split(1) if images.device.type == "cpu" else (images,)
    return torch.cat([_phase_congruency(piece) for piece in pieces]) if len(images) else images.expand(-1, 3, -1, -1)


class _Filters(NamedTuple):
    """Filters of one image size, on half the frequency plane; a filter is a radial times an angular part.

    The real part of a response comes from the even part of the filter, the imaginary from the odd one: two real
    transforms instead of a complex one.
    """

    radial: Tensor  # (S, H, W // 2 + 1)
    angular: Tensor  # (O, 2, 1, H, W // 2 + 1): even and odd
    noise: Tensor  # (O,): threshold of the energy for a median response of 1


def _phase_congruency(images: Tensor) -> Tensor:
    size = images.shape[-2:]
    filters = _filters(size[0], size[1], images.dtype, images.device)
    spectrum = torch.fft.rfft2(images) * filters.radial
    spectra = torch.stack([spectrum, spectrum * -1j], dim=1)
    strength, amplitudes, xx, yy, xy = images.new_zeros(5, len(images), *size)
    for orientation in range(ORIENTATIONS):
        responses = torch.fft.irfft2(spectra * filters.angular[orientation], s=size)
        energy, amplitude = _energy(responses, filters.noise[orientation])
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


def _energy(responses: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted local energy above the noise, and the sum of the amplitudes, of one orientation.

    `responses`: `(N, 2, S, H, W)`, real and imaginary. Returns two `(N, H, W)`.
    """
    real, imaginary = responses[:, 0], responses[:, 1]
    square = real.square().addcmul_(imaginary, imaginary)
    threshold = noise * _median(square[:, 0]).sqrt_()
    amplitudes = square.sqrt_()
    amplitude = amplitudes.sum(1)
    spread = amplitude / amplitudes.amax(1).add_(EPSILON).mul_(SCALES)

    real_sum, imaginary_sum = real.sum(1, keepdim=True), imaginary.sum(1, keepdim=True)
    across = (real * imaginary_sum).addcmul_(imaginary, real_sum, value=-1).abs_().sum(1)
    along = real_sum.square_().addcmul_(imaginary_sum, imaginary_sum).squeeze(1)
    energy = (along - across).div_(along.sqrt().add_(EPSILON)).sub_(threshold[:, None, None]).clamp_min_(0)
    weight = spread.sub_(SPREAD_CUTOFF).mul_(SPREAD_GAIN).sigmoid_()
    return energy.mul_(weight), amplitude


def _median(images: Tensor) -> Tensor:
    """Median of each `(N, H, W)`; of an even count the mean of the middle two, unlike torch.median."""
    pixels = images.flatten(1)
    count = pixels.shape[1]
    lower = pixels.kthvalue((count + 1) // 2, dim=1, keepdim=True).values
    above = pixels.where(pixels > lower, torch.inf).amin(1, keepdim=True)
    upper = lower.where((pixels <= lower).sum(1, keepdim=True) > count // 2, above)
    return ((lower + upper) / 2).squeeze(1)


@lru_cache(FILTERS_KEPT)
@torch.inference_mode(mode=False)
def _filters(height: int, width: int, dtype: torch.dtype, device: torch.device) -> _Filters:
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
    half = width // 2 + 1
    return _Filters(
        radial[..., :half].to(dtype).contiguous(),
        torch.stack([even, odd], dim=1)[:, :, None, :, :half].to(dtype).contiguous(),
        noise.to(dtype),
    )


def _frequencies(count: int, device: torch.device) -> Tensor:
    """Cycles a pixel in the order of the FFT; an odd count is divided by `count - 1`, as the original does."""
    index = torch.arange(count, dtype=torch.float64, device=device) - count // 2
    return torch.fft.ifftshift(index / (count - count % 2))


def _low_pass(height: int, width: int, device: torch.device) -> Tensor:
    """Butterworth low-pass; with an odd count it sits a sample off the other filters, as in the original."""
    y, x = (
        torch.fft.fftshift((torch.arange(count, dtype=torch.float64, device=device) - count // 2) / count)
        for count in (height, width)
    )
    radius = (y[:, None].square() + x.square()).sqrt()
    return 1 / (1 + (radius / LOW_PASS_CUTOFF) ** (2 * LOW_PASS_ORDER))
