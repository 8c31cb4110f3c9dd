"""Source files of a pair to two arrays: counts and degrees become grey levels, colours of a palette values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from upfusion.cameras.flir import FlirImage, decode_flir
from upfusion.cameras.ifd import read_directories
from upfusion.cameras.jpeg_segments import segments
from upfusion.cameras.palettes import match_palette, to_values
from upfusion.cameras.planck import Planck
from upfusion.cameras.radiometric import DJI_ADVICE, radiometric_kind
from upfusion.cameras.ranges import (
    RangeChoice,
    ValueRange,
    Values,
    apply_range,
    has_own_scale,
    invert,
    kind_of,
    note_on_scale,
    range_of,
    sample_of,
)
from upfusion.cameras.values import decode_values, is_value_tiff
from upfusion.color import Pixels
from upfusion.image_guard import MAX_PIXELS, ImageError
from upfusion.images import DecodedImage, decode_image, upright

_ORIENTATION = 274
_ZERO_CELSIUS = 273.15
FULL = RangeChoice("full")
_WORDS = {"f": "floats", "i": "signed integers", "u": "integers"}


@dataclass(frozen=True)
class SideOptions:
    """How one side of a pair becomes grey levels."""

    choice: RangeChoice = FULL
    ranges: Mapping[str, ValueRange | None] = field(default_factory=dict)
    """What `auto` and `percent` came to for the whole archive, by kind of values; None for their full scale."""
    black_hot: bool = False
    palette: str = "none"
    """`auto`, `none`, or the name of a palette that a coloured image is in."""


@dataclass(frozen=True)
class SourceImage:
    """A decoded source file."""

    values: Values
    """`(H, W)` or `(H, W, 3)`, upright, of whatever type the file has."""
    planck: Planck | None = None
    """What turns its counts into degrees."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SideImage:
    """One side of a pair as it is fused."""

    pixels: Pixels
    range: str | None = None
    """LOW:HIGH of the values that became black and white; None for the full scale."""
    palette: str | None = None
    notes: tuple[str, ...] = ()


def read_source(data: bytes, side: str, max_pixels: int = MAX_PIXELS) -> SourceImage:
    """Decode the file of one side, `A` or `B`; raises ImageError.

    A FLIR radiometric JPEG as B gives its counts, at the size of its preview where both have one shape; any other
    radiometric JPEG its preview, with a note.
    """
    if is_value_tiff(data):
        return SourceImage(decode_values(data, max_pixels))
    kind = radiometric_kind(data)
    if kind == "flir" and side == "B":
        found = decode_flir(data, max_pixels, visible=False)
        return SourceImage(_at_preview_size(_turned(found.counts, data), data, max_pixels), found.planck)
    image = decode_image(data, max_pixels)
    notes = notes_on(image, side)
    if kind == "flir":
        notes.append(f"{side} is the coloured preview of a FLIR radiometric JPEG")
    if kind == "dji" and side == "B":
        notes.append(f"B is the coloured preview of {DJI_ADVICE}")
    return SourceImage(image.pixels, None, tuple(notes))


def notes_on(image: DecodedImage, side: str) -> list[str]:
    """Say what had to be left out of an image."""
    notes = []
    if image.alpha_dropped:
        notes.append(f"transparency of {side} was dropped")
    if image.frames != 1:
        notes.append(f"first of {image.frames or 'many'} frames of {side}")
    return notes


def read_radiometric_pair(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[SourceImage, SourceImage]:
    """Decode a FLIR radiometric JPEG as a pair: its visible image is A, its counts are B, both of the common field.

    B is warped to A's pixels by the manufacturer's offsets, and A cropped to what B sees; without offsets both are
    taken to see the same. Raises ImageError.
    """
    found = decode_flir(data, max_pixels)
    if found.visible is None:
        raise ImageError(
            "unsupported_image",
            "the FLIR radiometric JPEG has no visible image of its own; pair it with one of another file",
        )
    a, b = _common_field(found, found.visible)
    return SourceImage(_turned(a, data)), SourceImage(_turned(b, data), found.planck)


def to_side(source: SourceImage, side: str, options: SideOptions) -> SideImage:
    """Turn a source into the pixels that are fused; raises ImageError where its values have no known scale."""
    values, notes, palette = source.values, list(source.notes), None
    if values.ndim == 3 and values.dtype == np.uint8 and options.palette != "none":
        palette = _palette_of(values, options.palette)
        if palette is not None:
            values = to_values(values, palette)
        elif options.palette == "auto" and match_palette(values) is not None:
            notes.append(
                f"{side} is coloured, and in no palette that is known: its luma is fused (--palette-b NAME turns the "
                "colours of one that is similar back into values)"
            )
    found, note = _range_for(values, side, options)
    notes += [note] if note else []
    if options.choice.unit:
        values = _temperatures(values, source.planck, options.choice.unit, side)
    if found is not None:
        pixels = apply_range(values, found, black_hot=options.black_hot)
    else:
        pixels = invert(values) if options.black_hot else values
    return SideImage(pixels, None if found is None else found.text(options.choice.unit), palette, tuple(notes))


def resize_to(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Scale an image to (height, width)."""
    height, width = size
    shrinks = width < pixels.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(pixels, (width, height), interpolation=interpolation)  # type: ignore[return-value]


def sample_for_range(source: SourceImage, options: SideOptions) -> tuple[str, np.ndarray]:
    """Return the kind of a source's values, and some that a range of the archive may be taken from."""
    values = source.values
    if values.ndim == 3 and values.dtype == np.uint8 and options.palette != "none":
        palette = _palette_of(values, options.palette)
        values = values if palette is None else to_values(values, palette)
    return kind_of(values), sample_of(values)


def _palette_of(values: Values, palette: str) -> str | None:
    if palette != "auto":
        return palette
    match = match_palette(values)
    return match.name if match is not None and match.is_sure else None


def _range_for(values: Values, side: str, options: SideOptions) -> tuple[ValueRange | None, str | None]:
    """Return the range of an image, None for its full scale, and what is to be noted of it."""
    choice, kind = options.choice, kind_of(values)
    if choice.kind == "fixed":
        return ValueRange(choice.low, choice.high), None
    if choice.kind == "per-image":
        return _own_range(values, choice), None
    if choice.needs_sample and kind in options.ranges:
        found = options.ranges[kind]
        return found, None if found else note_on_scale(values, side)
    if choice.needs_sample and not has_own_scale(values):
        return _own_range(values, choice), f"range of {side} from this image alone: the archive's sample had no {kind}"
    if not has_own_scale(values):
        raise ImageError(
            "unsupported_image",
            f"{8 * values.dtype.itemsize}-bit TIFF ({_WORDS[values.dtype.kind]}), whose values have no scale of their "
            f"own; say which are black and white with --range-{side.lower()} auto or LOW:HIGH",
        )
    return None, note_on_scale(values, side)


def _own_range(values: Values, choice: RangeChoice) -> ValueRange:
    try:
        return range_of([sample_of(values)], choice.percentiles)
    except ValueError as error:
        raise ImageError("unsupported_image", "the image holds no finite value") from error


def _temperatures(values: Values, planck: Planck | None, unit: str, side: str) -> Values:
    """Return degrees of the unit; floats are taken to be in it already."""
    if planck is not None:
        return planck.to_celsius(values) + (_ZERO_CELSIUS if unit == "K" else 0)
    if values.dtype.kind == "f":
        return values
    raise ImageError(
        "unsupported_image",
        f"{side} holds {values.dtype} counts without a calibration, so its range cannot be given in {unit}; "
        f"give it in counts (--range-{side.lower()} 22000:23200)",
    )


def _turned(values: Values, data: bytes) -> Values:
    """Apply the orientation of the JPEG around the records to what lies in them."""
    for marker, start, end in segments(data):
        if marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            entry = read_directories(data[start + 6 : end])[0].get(_ORIENTATION)
            orientation = entry.numbers() if entry else ()
            return upright(values, int(orientation[0])) if orientation else values
    return values


def _at_preview_size(counts: Values, data: bytes, max_pixels: int) -> Values:
    height, width = decode_image(data, max_pixels).pixels.shape[:2]
    if (height, width) == counts.shape or abs(height * counts.shape[1] - width * counts.shape[0]) > max(height, width):
        return counts
    return resize_to(counts, (height, width))


def _common_field(found: FlirImage, visible: Pixels) -> tuple[Pixels, Values]:
    height, width = visible.shape[:2]
    rows, columns = found.counts.shape
    if found.placement is None:
        return visible, resize_to(found.counts, (height, width))
    matrix = found.placement.matrix((width, height), (columns, rows))
    # The border of B's outer pixels, in A's pixels.
    left, top = matrix[:2, :2] @ (-0.5, -0.5) + matrix[:2, 2]
    right, bottom = matrix[:2, :2] @ (columns - 0.5, rows - 0.5) + matrix[:2, 2]
    x0, x1 = max(0, int(np.ceil(left))), min(width, int(np.floor(right)) + 1)
    y0, y1 = max(0, int(np.ceil(top))), min(height, int(np.floor(bottom)) + 1)
    if x1 - x0 < 16 or y1 - y0 < 16:
        raise ImageError("unsupported_image", "by the camera's offsets, its two images hardly overlap")
    shift = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1]]) @ matrix
    warped = cv2.warpAffine(
        found.counts, shift[:2], (x1 - x0, y1 - y0), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    cropped: Pixels = np.ascontiguousarray(visible[y0:y1, x0:x1])  # type: ignore[assignment]
    return cropped, np.asarray(warped, np.uint16)
