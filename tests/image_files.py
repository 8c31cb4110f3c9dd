"""Image files of every kind that lies in archives, ordinary and hostile, made from nothing."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageCms

WIDTH, HEIGHT = 64, 48
MAX_PIXELS = 1_000_000
"""The limit that files called too large here pass."""

Builder = Callable[[], bytes]


def noise(*channels: int, width: int = WIDTH, height: int = HEIGHT, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, (height, width, *channels), endpoint=True).astype(dtype)


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def coloured(image_format: str, **options: Any) -> bytes:
    return saved(Image.fromarray(noise(3)), image_format, **options)


def animated(image_format: str, frames: int = 3, **options: Any) -> bytes:
    first, *others = (Image.fromarray(noise(3, seed=seed)) for seed in range(frames))
    return saved(first, image_format, save_all=True, append_images=others, **options)


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[ExifTags.Base.Orientation] = orientation
    return found


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, *before: bytes, bit_depth: int = 8, color_type: int = 0) -> bytes:
    """Write a PNG of these filtered rows, with chunks before them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0))
    chunks = [header, *before, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def plain_png(*before: bytes) -> bytes:
    return png(WIDTH, HEIGHT, bytes((WIDTH + 1) * HEIGHT), *before)


def tiff(tags: dict[int, int], data: bytes = b"", *, after: int = 0) -> bytes:
    """Write a TIFF of one directory of LONGs, with `data` behind it at `DATA_AT(tags)`; `after` is the next one."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", after) + data


def tiff_in_tiles(width: int, height: int, tile: int) -> bytes:
    """Write a TIFF in one deflated tile of zeros."""
    data = zlib.compressobj(1)
    packed = b"".join(data.compress(bytes(tile)) for _ in range(min(tile, 20_000))) + data.flush()
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 325: len(packed)}
    tags[324] = 8 + 2 + 12 * (len(tags) + 1) + 4
    return tiff(tags, packed)


def tiff_of_pages(pages: int) -> bytes:
    """Write a TIFF whose directories, but for the first, are empty."""
    data = coloured("TIFF")
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    place = first + 2 + 12 * entries
    empty = b"".join(struct.pack("<HI", 0, len(data) + 6 * page) for page in range(1, pages - 1)) + bytes(6)
    return data[:place] + struct.pack("<I", len(data)) + data[place + 4 :] + empty


def tiff_of_another_kind() -> bytes:
    from tests.image_kinds import Tiff  # which builds on this file

    samples = np.random.default_rng(0).integers(0, 1 << 12, (HEIGHT, WIDTH, 3))
    return Tiff(samples, 12, 2, order=">", planar=True, tile=(32, 16), big=True, compression=5).write()


def jpeg_of_scans(scans: int) -> bytes:
    """Write a progressive JPEG that repeats its last scan."""
    data = saved(Image.new("L", (WIDTH, HEIGHT), 7), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * (scans - data.count(b"\xff\xda")) + data[-2:]


def jpeg_of_segments(segments: int) -> bytes:
    data = coloured("JPEG")
    return data[:2] + b"\xff\xe5\0\2" * segments + data[2:]


def webp_header(width: int, height: int) -> bytes:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size + b"VP8 " + struct.pack("<I", 0)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp_run_length(width: int, height: int, codes: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(codes), 0, 0, 256, 0)
    palette = bytes(4 * 256)
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(codes), 0, 0, offset) + header + palette + codes


def crowded_exif(entries: int, size: int) -> bytes:
    """Write a TIFF directory all of whose entries claim the same bytes."""
    head = struct.pack("<2sHIH", b"II", 42, 8, entries)
    start = len(head) + 12 * entries + 4
    body = b"".join(struct.pack("<HHII", tag, 7, size, start) for tag in range(1000, 1000 + entries))
    return head + body + bytes(4 + size)


ORDINARY: dict[str, Builder] = {
    "PNG": lambda: coloured("PNG"),
    "JPEG": lambda: coloured("JPEG"),
    "WebP": lambda: coloured("WEBP"),
    "BMP": lambda: coloured("BMP"),
    "TIFF": lambda: coloured("TIFF"),
    "TIFF, compressed": lambda: coloured("TIFF", compression="tiff_lzw"),
    "TIFF in separate planes, tiled, of 1 to 16 bits, big-endian, BigTIFF": lambda: tiff_of_another_kind(),
    "grey, 8 bits": lambda: saved(Image.fromarray(noise()), "PNG"),
    "grey, 16 bits": lambda: saved(Image.fromarray(noise(dtype=np.uint16)), "PNG"),
    "colour, 16 bits": lambda: cv2.imencode(".png", noise(3, dtype=np.uint16))[1].tobytes(),
    "1 bit": lambda: saved(Image.fromarray(noise() > 127), "PNG"),
    "palette": lambda: saved(Image.fromarray(noise(3)).convert("P"), "PNG"),
    "CMYK": lambda: saved(Image.fromarray(noise(3)).convert("CMYK"), "JPEG"),
    "with an EXIF orientation": lambda: saved(
        Image.fromarray(noise(3, width=HEIGHT, height=WIDTH)), "JPEG", exif=exif(6)
    ),
    "with an orientation in XMP alone": lambda: png(
        HEIGHT, WIDTH, bytes((HEIGHT + 1) * WIDTH), chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation="6"')
    ),
    "with damaged EXIF": lambda: plain_png(chunk(b"eXIf", b"\0\x08\0\2\1\x12\0\3\0\0\0\1\0\1\0\0")),
    "with an ICC profile": lambda: coloured(
        "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ),
    "with alpha": lambda: saved(Image.fromarray(noise(4)), "PNG"),
    "palette with transparency": lambda: saved(Image.fromarray(noise(3)).convert("P"), "PNG", transparency=3),
    "animated PNG": lambda: animated("PNG"),
    "animated WebP": lambda: animated("WEBP"),
    "TIFF of several pages": lambda: animated("TIFF"),
    "MPO": lambda: animated("MPO"),
    "TIFF of more than 10,000 pages": lambda: tiff_of_pages(20_000),
    "animated GIF named `.png`": lambda: animated("GIF"),
    "PNG named `.jpg`": lambda: coloured("PNG"),
}
"""What is fused, 64x48 pixels each."""

BAD: dict[str, tuple[Builder, str]] = {
    "0 bytes": (lambda: b"", "empty_file"),
    "text": (lambda: b"These are my holiday photos.\n" * 10, "not_an_image"),
    "HTML error page named `.jpg`": (lambda: b"<!DOCTYPE html><title>404 Not Found</title>", "not_an_image"),
    "zeros": (lambda: bytes(4096), "not_an_image"),
    "EPS, PDF or SVG named `.png`": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\nshowpage\n",
        "not_an_image",
    ),
    "PNG cut short": (lambda: coloured("PNG")[:-2000], "truncated_image"),
    "JPEG cut short": (lambda: coloured("JPEG")[:-500], "truncated_image"),
    "WebP cut short": (lambda: coloured("WEBP")[:-500], "truncated_image"),
    "BMP cut short": (lambda: coloured("BMP")[:-500], "truncated_image"),
    "TIFF cut short": (lambda: coloured("TIFF")[:-500], "truncated_image"),
    "first bytes of a PNG alone": (lambda: b"\x89PNG\r\n\x1a\n", "truncated_image"),
    "PNG with some bytes exchanged": (
        lambda: coloured("PNG")[:2000] + b"zzzz" + coloured("PNG")[2004:],
        "damaged_image",
    ),
    "HEIC or AVIF named `.jpg`": (lambda: b"\0\0\0\x18ftypheic" + bytes(100), "unsupported_image"),
    "JPEG of 12 bits, lossless JPEG": (
        lambda: coloured("JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c", 1),
        "unsupported_image",
    ),
    "float TIFF": (lambda: saved(Image.fromarray(noise().astype(np.float32)), "TIFF"), "unsupported_image"),
    "32-bit integer TIFF": (lambda: saved(Image.fromarray(noise().astype(np.int32)), "TIFF"), "unsupported_image"),
    "more pixels than `--max-pixels`": (lambda: png(1001, 1000, b""), "too_large"),
    "PNG that claims 4 billion pixels": (lambda: png(1 << 16, 1 << 16, b""), "too_large"),
    "JPEG that claims 4 billion pixels": (
        lambda: coloured("JPEG").replace(struct.pack(">HH", HEIGHT, WIDTH), b"\xff\xff\xff\xff", 1),
        "too_large",
    ),
    "WebP that claims 268 million pixels": (lambda: webp_header(16384, 16384), "too_large"),
    "TIFF of one pixel in a tile of 400 million": (lambda: tiff_in_tiles(1, 1, 20_000), "too_large"),
    "JPEG of 1,000 scans": (lambda: jpeg_of_scans(1000), "too_large"),
    "JPEG of a million empty segments": (lambda: jpeg_of_segments(1_000_000), "too_large"),
    "PNG of a million empty texts": (lambda: plain_png(chunk(b"tEXt", b"k\0") * 1_000_000), "too_large"),
    "PNG with a text of 100 MB, packed": (
        lambda: plain_png(chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000), 9))),
        "too_large",
    ),
    "PNG with a profile of 100 MB, packed": (
        lambda: plain_png(chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(100_000_000), 9))),
        "too_large",
    ),
}
"""What is not, with the code of its failure where no image has more than MAX_PIXELS."""

HARMLESS: dict[str, Builder] = {
    "PNG whose EXIF names the same megabyte 60,000 times": lambda: plain_png(
        chunk(b"eXIf", crowded_exif(60_000, 1 << 20))
    ),
    "TIFF that names the same megabyte 60,000 times": lambda: crowded_exif(60_000, 1 << 20),
    "run-length coded BMP that skips 25 billion pixels": lambda: bmp_run_length(999_999, 1, b"\0\2\xff\xff" * 9),
    "APNG that claims 4 billion frames": lambda: plain_png(chunk(b"acTL", struct.pack(">II", (1 << 32) - 1, 0))),
    "GIF of a million empty frames": lambda: animated("GIF", 2)[:-1] + b"\x2c" + bytes(10) * 1_000_000,
}
"""Bombs that cost nothing: whether they decode does not matter, what they use does."""


def damaged_files(count: int, seed: int = 0) -> Iterator[bytes]:
    """Give ordinary files with a few bytes exchanged, left out or put in, most of them near the beginning."""
    dice = np.random.default_rng(seed)
    files = [build() for build in ORDINARY.values()]
    for turn in range(count):
        data = bytearray(files[turn % len(files)])
        for place in dice.integers(0, min(len(data), int(dice.choice([64, 400, len(data)]))), 3):
            data[place : place + 1] = dice.bytes(dice.integers(0, 5))
        yield bytes(data)
