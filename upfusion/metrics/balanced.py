"""The balanced form of a metric that compares F with each source."""

from torch import Tensor


def balanced(per_source: Tensor) -> Tensor:
    """Harmonic mean of the two directions `(N, 2)`, 0 where one of them is not positive; returns `(N,)`.

    A copy of one source scores high in that direction alone, which raises the mean of both but not this: every
    direction has to be high.
    """
    product, total = per_source.prod(1), per_source.sum(1)
    return (2 * product / total).masked_fill((per_source <= 0).any(1), 0)
