"""Three libraries that read image files, as an oracle: what each makes of a file, in our terms.

Each leaves out what it is known to read wrongly, with the reason: that list is what `upfusion.images` may not trust.
"""

import io
import warnings
from collections.abc import Callable
from contextlib import suppress

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageOps

from upfusion.image_metadata import orientation_of
from upfusion.images import upright
from upfusion.tiff_header import TiffHeader, is_tiff, read_tiff_header

Read = tuple[np.ndarray, int]
"""Pixels `(H, W)` or `(H, W, 3)`, upright, and how many of their bits count."""


def by_pillow(data: bytes) -> Read | None:
    header = read_tiff_header(data) if is_tiff(data) else None
    if (
        header
        and (
            # Each plane is read as if it were of 8 bits.
            (header.planar and header.bits != 8)
            # The order of bits is not that of its raw modes.
            or (header.planar and header.fill_order == 2)
            # Signed bytes are read as unsigned ones.
            or header.sample_format != 1
            # Colour is divided by its alpha after both are cut to 8 bits.
            or (header.bits == 16 and header.extra[:1] == (1,))
        )
    ):
        return None
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        bits = 8
        if upright.mode in ("F", "I"):
            return None
        if upright.mode.startswith("I;16"):
            pixels = np.asarray(upright).astype(np.uint16)
            if header and header.bits == 12:
                pixels = np.rint(pixels / 4095 * 65535).astype(np.uint16)
            return (65535 - pixels if header and header.photometric == 0 else pixels), 16
        if upright.mode == "La":
            # Where nothing is seen it leaves grey as it is, and makes colour black.
            grey, alpha = (np.asarray(band) for band in upright.convert("LA").split())
            return np.where(alpha > 0, grey, 0).astype(np.uint8), bits
        if upright.mode in ("L", "1", "LA"):
            return np.asarray(upright.convert("L")), bits
        return np.asarray(_rgb(upright)), bits


def _rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGBA").convert("RGB") if image.mode in ("P", "PA") else image.convert("RGB")


def by_opencv(data: bytes) -> Read | None:
    header = read_tiff_header(data) if is_tiff(data) else None
    if header and not _opencv_honours(header):
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        return None
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels[..., 2::-1]
    # It turns a TIFF by its tag, and nothing else.
    turned = 1
    if not is_tiff(data):
        with Image.open(io.BytesIO(data)) as image:
            turned = orientation_of(image)
    return np.ascontiguousarray(upright(pixels, turned)), 8 * pixels.dtype.itemsize


def _opencv_honours(header: TiffHeader) -> bool:
    return (
        # opencv 28717: separate planes are read as one, into memory that nobody wrote.
        not header.planar
        and header.bits in (8, 16)
        and header.sample_format == 1
        and header.photometric in (1, 2)
        and header.samples == header.colors
        and header.orientation == 1
    )


def by_tifffile(data: bytes) -> Read | None:
    if not is_tiff(data):
        return None
    header = read_tiff_header(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        values = page.asarray()
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            values = np.moveaxis(values, 0, -1)
        values = values.reshape(page.imagelength, page.imagewidth, -1)
        photometric, bits = int(page.photometric), int(page.bitspersample)
        colormap, extra = page.colormap, tuple(map(int, page.extrasamples))
    if values.dtype.kind not in "ub" or bits > 16:
        return None
    return _meant(values, bits, photometric, colormap, extra, header)


def _meant(
    values: np.ndarray,
    bits: int,
    photometric: int,
    colormap: np.ndarray | None,
    extra: tuple[int, ...],
    header: TiffHeader,
) -> Read | None:
    out = 8 if bits <= 8 else 16
    top = (1 << out) - 1
    if photometric == 3:
        if colormap is None:
            return None
        colors = colormap if colormap.max() <= 255 else colormap >> 8
        return _turned(np.moveaxis(colors, 0, -1)[values[..., 0]].astype(np.uint8), header), 8
    if photometric not in (0, 1, 2, 5):
        return None
    whole = np.rint(values.astype(np.float64) * top / ((1 << bits) - 1))
    count = {2: 3, 5: 4}.get(photometric, 1)
    color = whole[..., :count]
    if extra[:1] == (1,):
        alpha = whole[..., count : count + 1]
        color = np.where(alpha > 0, np.minimum(np.floor(color * top / np.maximum(alpha, 1)), top), 0)
    if photometric == 5:
        color = np.rint((top - color[..., :3]) * (top - color[..., 3:]) / top)
    if photometric == 0:
        color = top - color
    color = color.astype(np.uint8 if out == 8 else np.uint16)
    return _turned(color[..., 0] if color.shape[2] == 1 else color, header), out


def _turned(pixels: np.ndarray, header: TiffHeader) -> np.ndarray:
    return np.ascontiguousarray(upright(pixels, header.orientation))


READERS: dict[str, Callable[[bytes], Read | None]] = {"Pillow": by_pillow, "OpenCV": by_opencv, "tifffile": by_tifffile}


def readings(data: bytes) -> dict[str, Read]:
    """Return what each library that can read a file makes of it."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, read in READERS.items():
            with suppress(Exception):
                reading = read(data)
                if reading is not None:
                    found[name] = reading
    return found


def differences(pixels: np.ndarray, readings_: dict[str, Read]) -> list[str]:
    """Say which libraries read other pixels than these, and how."""
    return [f"{name}: {said}" for name, read in readings_.items() if (said := _difference(pixels, *read))]


def _difference(ours: np.ndarray, theirs: np.ndarray, bits: int) -> str | None:
    if ours.ndim != theirs.ndim:  # a grey palette or WebP, which one gives as grey and another as colour
        ours, theirs = (np.dstack([one] * 3) if one.ndim == 2 else one for one in (ours, theirs))
    if ours.shape != theirs.shape:
        return f"{theirs.shape} instead of {ours.shape}"
    ours = ours.astype(np.int64)
    theirs = theirs.astype(np.int64)
    if ours.max(initial=0) > 255 and bits == 8:
        ours = ours >> 8
    largest = np.abs(ours - theirs).max()
    return None if largest <= 2 else f"up to {largest} off"
