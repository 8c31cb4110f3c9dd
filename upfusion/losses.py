"""The training loss: intensity, gradient, structure, fidelity and features of the fused luma against both sources.

All terms take crops and return a scalar.

Shape suffixes: B batch, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from upfusion.blur import gaussian_blur
from upfusion.feature_loss import feature_loss
from upfusion.fidelity_loss import fidelity_loss, harmonic_mean
from upfusion.sobel import sobel_magnitude

_BLUR_BORDER = 6
SMALLEST_SIMILARITY = 0.02
"""SSIM can be negative, of which there is no harmonic mean."""

AGREED = 0.5
"""SSIM of A with B from which on they count as showing the same."""


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Weights of the terms; the paper has intensity 1, gradient 1 and no other (arXiv 2511.12432, section "Loss")."""

    intensity: float = 1.0
    gradient: float = 1.0
    overshoot: float = 0.0
    structure: float = 0.0
    structure_agreed: float = 0.0
    fidelity: float = 0.0
    feature: float = 0.0
    bounds: float = 0.0
    wishes: float = 0.0
    imitation: float = 0.0


@dataclass(frozen=True)
class Crops:
    """What the terms compare: lumas (B, 1, H, W) in [0, 1] of both sources and of the result, and the wishes for it."""

    a: Tensor
    b: Tensor
    fused: Tensor
    wish: Tensor
    """(B, W), columns as in `upfusion.wishes.Wish`."""
    taught: Tensor | None = None
    """What a teacher made of the sources, as `fused`; None where there is none."""

    def __getitem__(self, chosen: slice | Tensor) -> "Crops":
        """Return some of the crops."""
        taught = None if self.taught is None else self.taught[chosen]
        return Crops(self.a[chosen], self.b[chosen], self.fused[chosen], self.wish[chosen], taught)

    @cached_property
    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sobel magnitude of A, B and the result."""
        a, b, fused = sobel_magnitude(torch.cat([self.a, self.b, self.fused])).chunk(3)
        return a, b, fused

    @cached_property
    def structure(self) -> Tensor:
        """Harmonic mean of the SSIM of the result with A and with B, weighed by the balance: (B,)."""
        return harmonic_mean(_ssim_with_both(self, self.fused), shares(self.wish))


Term = Callable[[Crops], Tensor]


def fusion_loss(crops: Crops, weights: LossWeights, feature_share: float = 1.0) -> dict[str, Tensor]:
    """Return every term that has a weight, and their weighted sum under the name `loss`; each is a mean over crops.

    `feature` takes as long as all other terms together, so it may be computed on the darkest `feature_share` of
    the crops alone: at night features are fewest.
    """
    wanted: dict[str, tuple[float, Term]] = {
        "intensity": (weights.intensity, intensity_loss),
        "gradient": (weights.gradient, gradient_loss),
        "overshoot": (weights.overshoot, overshoot_loss),
        "structure": (weights.structure, structure_loss),
        "structure_agreed": (weights.structure_agreed, structure_agreed_loss),
        "fidelity": (weights.fidelity, lambda x: fidelity_loss(x.a, x.b, x.fused, shares(x.wish))),
        "feature": (weights.feature, lambda x: feature_loss(x.a, x.b, x.fused)),
        "bounds": (weights.bounds, bounds_loss),
        "wishes": (weights.wishes, wishes_loss),
        "imitation": (weights.imitation, imitation_loss),
    }
    brightness_B = torch.maximum(crops.a, crops.b).mean(dim=(1, 2, 3))
    some = crops[brightness_B.argsort()[: max(1, round(feature_share * len(crops.a)))]]
    terms = {name: term(some if name == "feature" else crops) for name, (weight, term) in wanted.items() if weight}
    return {"loss": torch.stack([wanted[name][0] * value for name, value in terms.items()]).sum(), **terms}


def shares(wish_BW: Tensor) -> Tensor:
    """Return the shares of A and B in fidelity and structure, (B, 2): half each at balance 0, .1 and .9 at its ends."""
    toward_b_B = 0.5 + 0.4 * wish_BW[:, 0]
    return torch.stack([1 - toward_b_B, toward_b_B], dim=1)


def intensity_loss(crops: Crops) -> Tensor:
    """L1 distance to the element-wise maximum of both sources."""
    return F.l1_loss(crops.fused, torch.maximum(crops.a, crops.b))


def gradient_loss(crops: Crops) -> Tensor:
    """L1 distance of the Sobel gradient to the element-wise maximum of both sources' gradients.

    At the ends of the balance the gradient of the other source counts half: its strong edges stay.
    """
    a, b, fused = crops.gradients
    balance = crops.wish[:, 0, None, None, None]
    weight_a, weight_b = 1 - 0.5 * balance.clamp_min(0), 1 + 0.5 * balance.clamp_max(0)
    return F.l1_loss(fused, torch.maximum(weight_a * a, weight_b * b))


def overshoot_loss(crops: Crops) -> Tensor:
    """Mean of what the Sobel gradient has beyond that of both sources: halos, and amplified noise."""
    a, b, fused = crops.gradients
    return F.relu(fused - torch.maximum(a, b)).mean()


def structure_loss(crops: Crops) -> Tensor:
    """One minus the harmonic mean of the SSIM with each source (Wang et al. 2004, doi:10.1109/TIP.2003.819861).

    The authors' option is the plain mean, which a copy of one source satisfies by half.
    """
    return 1 - crops.structure.mean()


def structure_agreed_loss(crops: Crops) -> Tensor:
    """`structure_loss` where both sources show the same: from 0 where their SSIM is AGREED or less to all of it at 1.

    Day and near infrared: what both show needs no emphasis, so there a result can be true to both. Crops with a wish
    beside the balance do not count, as a lifted dark has less structure.
    """
    with torch.no_grad():
        agreed_B = (_ssim_with_both(crops, crops.a)[:, 1] - AGREED).clamp_min(0) / (1 - AGREED)
    plain_B = (crops.wish[:, 1:] == 0).all(dim=1)
    return (agreed_B * plain_B * (1 - crops.structure)).mean()


def _ssim_with_both(crops: Crops, image_B1HW: Tensor) -> Tensor:
    """SSIM of a luma with A and with B: (B, 2)."""
    images_B3HW = torch.cat([crops.a, crops.b, image_B1HW], dim=1)
    planes_B8HW = torch.cat([images_B3HW, images_B3HW**2, images_B3HW[:, :2] * image_B1HW], dim=1)
    blurred_B8HW = gaussian_blur(planes_B8HW, 11, 1.5)
    mean_B3HW, square_B3HW, product_B2HW = torch.split(blurred_B8HW, [3, 3, 2], dim=1)
    variance_B3HW = square_B3HW - mean_B3HW**2
    covariance_B2HW = product_B2HW - mean_B3HW[:, :2] * mean_B3HW[:, 2:]
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_B3HW[:, :2] * mean_B3HW[:, 2:] + c1) * (2 * covariance_B2HW + c2)
    energy = (mean_B3HW[:, :2] ** 2 + mean_B3HW[:, 2:] ** 2 + c1) * (variance_B3HW[:, :2] + variance_B3HW[:, 2:] + c2)
    return (similarity / energy).mean(dim=(2, 3)).clamp_min(SMALLEST_SIMILARITY)


def bounds_loss(crops: Crops) -> Tensor:
    """Mean of how far luma lies outside [0, 1]."""
    return (F.relu(crops.fused - 1) + F.relu(-crops.fused)).mean()


def wishes_loss(crops: Crops) -> Tensor:
    """What is left to do of the wishes: bright targets stay bright, the dark is lifted.

    A quarter of the first is wished for always, so that no balance makes a person vanish. Noise is suppressed without
    learning (gain_output.py).
    """
    missing_B = _bright_targets_missing(torch.maximum(crops.a, crops.b), crops.fused)
    loss = (missing_B * (0.25 + 0.75 * crops.wish[:, 1])).mean()
    asked = crops.wish[:, 2] > 0
    if not asked.any():
        return loss
    some = crops[asked]
    unlit_B = _mean(F.relu(_lifted(_blur_inside(torch.maximum(some.a, some.b))) - _blur_inside(some.fused)))
    return loss + 4 * (some.wish[:, 2] * unlit_B).sum() / len(crops.a)


def imitation_loss(crops: Crops) -> Tensor:
    """L1 distance to what a teacher made of the crops, in luma and in its horizontal and vertical differences.

    Distillation: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, here of images. Raises ValueError without a teacher.
    """
    if crops.taught is None:
        raise ValueError("imitation: expected crops with what a teacher made of them")
    apart_B1HW = crops.fused - crops.taught
    return apart_B1HW.abs().mean() + apart_B1HW.diff(dim=2).abs().mean() + apart_B1HW.diff(dim=3).abs().mean()


def _bright_targets_missing(brighter_B1HW: Tensor, fused_B1HW: Tensor) -> Tensor:
    """How much darker than the brighter source the result is where that stands out: (B,)."""
    deviation, mean = torch.std_mean(brighter_B1HW, dim=(2, 3), keepdim=True)
    target_B1HW = ((brighter_B1HW - mean - 1.5 * deviation) / 0.05).clamp(0, 1)
    return (target_B1HW * F.relu(brighter_B1HW - fused_B1HW)).sum((1, 2, 3)) / (target_B1HW.sum((1, 2, 3)) + 100)


def _lifted(x_B1HW: Tensor) -> Tensor:
    """Raise what is darker than 0.4 by a gamma of 0.6."""
    return torch.where(x_B1HW < 0.4, 0.4 * (x_B1HW / 0.4).clamp_min(1e-3) ** 0.6, 0.0)


def _blur_inside(x_B1HW: Tensor) -> Tensor:
    """Blur by a Gaussian of 2 pixels, which costs 6 pixels on each side."""
    return gaussian_blur(x_B1HW, 2 * _BLUR_BORDER + 1, 2.0)


def _mean(x_B1HW: Tensor) -> Tensor:
    return x_B1HW.mean(dim=(1, 2, 3))
