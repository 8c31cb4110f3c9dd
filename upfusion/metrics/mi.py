"""MI: mutual information."""

from torch import Tensor

from upfusion.metrics.flat import nan_where_flat
from upfusion.metrics.histogram import entropy, joint_histogram, levels


def mi(a: Tensor, b: Tensor, f: Tensor) -> Tensor:
    """Mutual information of A and F plus that of B and F, in bits.

    `a, b, f`: luma `(N, 1, H, W)`, 0..255, rounded to whole levels. Returns `(N,)`, 0..16; higher is better.
    NaN where an image is flat.

    I(S, F) = H(S) + H(F) - H(S, F) with the entropies of the 256-level histograms, not normalised.
    Qu, Zhang and Yan 2002, https://doi.org/10.1049/el:20020212
    """
    fused = levels(f)
    value = a.new_zeros(len(a))
    for source in (a, b):
        joint = joint_histogram(levels(source), fused)
        marginals = entropy(joint.sum(2), a.dtype) + entropy(joint.sum(1), a.dtype)
        value += marginals - entropy(joint, a.dtype)
    return nan_where_flat(value, a, b, f)
