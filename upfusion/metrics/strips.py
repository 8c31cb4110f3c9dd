"""Walking over an image in strips of rows, so that a metric's intermediate maps stay in the CPU's cache."""

from collections.abc import Iterator

from torch import Tensor

# At 1280x1024 on one thread, 2**14 .. 2**18 are equally fast; with 2**20 vif and ssim take twice as long.
PIXELS_PER_STRIP = 2**16
# With fewer rows a strip is mostly the overlap with its neighbours.
SMALLEST_STRIP = 32


def strips(images: Tensor, window_size: int) -> Iterator[Tensor]:
    """Cut `(N, C, H, W)` into strips; what an unpadded window makes of them tiles what it makes of the whole.

    Neighbours overlap by `window_size - 1` rows, and each starts at an even row, so that every second result
    of each strip is every second one of the image. On anything but a CPU the image is one strip.
    """
    height, width = images.shape[-2:]
    rows = height - window_size + 1
    step = rows
    if images.device.type == "cpu":
        step = max(SMALLEST_STRIP, PIXELS_PER_STRIP // max(len(images) * width, 1) // 2 * 2)
    for top in range(0, rows, step):
        yield images[:, :, top : min(top + step, rows) + window_size - 1]
