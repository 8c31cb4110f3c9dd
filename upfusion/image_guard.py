"""Opening untrusted image files: few formats, bounded memory and time, one kind of error.

Memory and time are bounded by the pixels that are allowed and by the size of the file, whatever the file says of
itself. Pillow bounds most of that since 13.0; here is the rest.
"""

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from upfusion.declared import count_scans, ends_early, other_kind
from upfusion.image_errors import ImageError as ImageError
from upfusion.image_errors import damaged, truncated, unsupported

MAX_PIXELS = 100_000_000
"""Pixels of the largest image that is decoded unless another limit is given: 2.4 GB at the worst."""

PILLOWS_LIMIT = 178_956_970
"""Pixels of the largest image that Pillow decodes, unless `PIL.Image.MAX_IMAGE_PIXELS` is changed."""

# What SUFFIXES promises, and GIF, which is found under those names. Pillow knows some forty formats, among them EPS,
# for which it starts Ghostscript.
FORMATS_READ = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")

_SIGNATURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF87a", b"GIF89a")
"""First bytes of formats we read: what has them and cannot be opened is damaged, not something else."""

# Every scan of a progressive JPEG passes over the whole image: 0.1 s for 100 million pixels, in 140 bytes of file.
# Encoders write about ten; libtiff refuses more than 100 as well.
_MOST_SCANS = 100

# Calls of read() that a file may cost: 100,000, and one more for every 64 bytes. Without a limit a file of millions of
# empty parts takes 35 (JPEG) to 57 (PNG) times its size in memory.
_READS, _BYTES_A_READ = 100_000, 64

# How Pillow names kinds of BMP that it knows and does not read.
_UNSUPPORTED = re.compile("Unsupported BMP")

# How Pillow refuses to unpack a PNG's texts and profiles beyond a megabyte each.
_TOO_LARGE = re.compile("too large|Too much memory")


@contextmanager
def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Open an image file's bytes; whatever opening it, or what is done inside the block, runs into is an ImageError.

    Codes are `empty_file`, `not_an_image`, `truncated_image`, `damaged_image`, `unsupported_image` and `too_large`
    (more than `max_pixels`, or made to cost far more than its size).
    """
    check_kind(data)
    with as_image_errors(data), quiet_pillow, Image.open(_File(data), formats=FORMATS_READ) as image:
        check_size(image.size, max_pixels)
        if image.format in ("JPEG", "MPO"):
            _check_scans(data)
        yield image


@contextmanager
def as_image_errors(data: bytes) -> Iterator[None]:
    """Turn whatever reading a file runs into inside the block into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        raise _image_error(error, data) from error


def check_kind(data: bytes) -> None:
    """Raise ImageError for what is empty, and for a whole image of a kind that is known and not read."""
    if not data:
        raise ImageError("empty_file", "the file is empty (0 bytes)")
    if kind := other_kind(data):
        raise unsupported(kind)


def count_frames(image: Image.Image) -> int | None:
    """Count the frames of an opened file without decoding them; None for several that are not counted.

    Those of GIF, which no name that is read promises, take too long to count.
    """
    if image.format == "GIF":
        return None if getattr(image, "is_animated", False) else 1
    return getattr(image, "n_frames", 1)


class _File(io.BytesIO):
    """A file in memory that allows only so many reads as an honest one of its size needs."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        # Pillow reads a run-length coded BMP byte by byte, and no other BMP in many pieces.
        self.reads_left = float("inf") if data.startswith(b"BM") else _READS + len(data) // _BYTES_A_READ

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise ImageError("too_large", "the file consists of far too many parts")
        return super().read(size)


class _QuietPillow:
    """While anything is decoded, Pillow does not warn: what matters of it becomes an error or a note.

    The filters of warnings belong to all threads: the first one in changes them, the last one out puts them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)


quiet_pillow = _QuietPillow()


def _image_error(error: Exception, data: bytes) -> ImageError:
    if isinstance(error, Image.DecompressionBombError | MemoryError) or _TOO_LARGE.search(str(error)):
        return ImageError("too_large", f"the image is too large: {str(error) or 'memory ran out'}")
    known = data.startswith(_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")
    if known or not isinstance(error, UnidentifiedImageError):
        # Damaged files make Pillow raise nearly anything: OSError, SyntaxError, ValueError, EOFError, struct.error.
        message = str(error) if not isinstance(error, UnidentifiedImageError) else "it cannot be opened"
        if _UNSUPPORTED.search(message):
            return unsupported(f"the image ({message})")
        return truncated(message) if ends_early(data) else damaged(message)
    readable = "PNG, JPEG, WebP, BMP, TIFF, GIF"
    return ImageError(
        "not_an_image", f"the file is not an image that can be read ({readable}): it begins with {data[:16]!r}"
    )


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raise ImageError (`too_large`) for more than `max_pixels`."""
    width, height = size
    if width * height > max_pixels:
        raise ImageError("too_large", f"the image is too large: {width}x{height}, more than {max_pixels} pixels")


def _check_scans(data: bytes) -> None:
    if (count_scans(data, _MOST_SCANS) or 0) > _MOST_SCANS:
        raise ImageError("too_large", f"the JPEG has more than {_MOST_SCANS} scans, each as costly as an image")
