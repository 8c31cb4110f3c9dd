"""Images of every kind that its format allows: depths, planes, byte orders, orientations, compressions."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.image_files import HEIGHT, WIDTH, animated, chunk, exif, noise, png, saved

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
TYPES = {1: "B", 3: "H", 4: "I", 7: "B", 16: "Q"}


@dataclass(frozen=True)
class Tiff:
    """A TIFF whose every tag is chosen; `write` gives its bytes."""

    samples: np.ndarray
    """Whole numbers `(H, W, n)` below `2**bits`."""
    bits: int = 8
    photometric: int = 1
    order: str = "<"
    planar: bool = False
    extra: tuple[int, ...] | None = None
    compression: int = 1
    predictor: int = 1
    fill_order: int = 1
    rows: int | None = None
    """A strip's; None for one strip."""
    tile: tuple[int, int] | None = None
    orientation: int | None = None
    xmp: int | None = None
    format: int | None = None
    big: bool = False
    more: dict[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict)

    def write(self) -> bytes:
        height, width, samples = self.samples.shape
        parts = self._parts()
        entries: dict[int, tuple[int, tuple[int, ...]]] = {
            256: (4, (width,)), 257: (4, (height,)), 258: (3, (self.bits,) * samples), 259: (3, (self.compression,)),
            262: (3, (self.photometric,)), 277: (3, (samples,)), 284: (3, (1 + self.planar,)),
        }  # fmt: skip
        offsets, sizes = (324, 325) if self.tile else (273, 279)
        if self.tile:
            entries |= {322: (4, (self.tile[0],)), 323: (4, (self.tile[1],))}
        else:
            entries[278] = (4, (self.rows or height,))
        if self.fill_order != 1:
            entries[266] = (3, (self.fill_order,))
        if self.predictor != 1:
            entries[317] = (3, (self.predictor,))
        if self.extra is not None:
            entries[338] = (3, self.extra)
        if self.format is not None:
            entries[339] = (3, (self.format,) * samples)
        if self.orientation is not None:
            entries[274] = (3, (self.orientation,))
        if self.xmp is not None:
            entries[700] = (1, tuple(XMP % self.xmp))
        entries |= self.more
        entries[sizes] = (4, tuple(map(len, parts)))
        return self._written(entries, parts, offsets)

    def _parts(self) -> list[bytes]:
        planes = [self.samples[..., c : c + 1] for c in range(self.samples.shape[2])] if self.planar else [self.samples]
        height, width = self.samples.shape[:2]
        across, down = self.tile or (width, self.rows or height)
        parts = []
        for plane in planes:
            for top in range(0, height, down):
                for left in range(0, width, across):
                    part = plane[top : top + down, left : left + across]
                    if self.tile:
                        part = np.pad(
                            part, ((0, down - part.shape[0]), (0, across - part.shape[1]), (0, 0)), mode="edge"
                        )
                    parts.append(self._packed(part))
        return parts

    def _packed(self, part: np.ndarray) -> bytes:
        if self.predictor == 2:
            part = part.astype(np.int64)
            part = np.concatenate([part[:, :1], np.diff(part, axis=1)], axis=1) % (1 << self.bits)
        if self.bits in (8, 16, 32):
            raw = part.astype(f"{self.order}u{self.bits // 8}").tobytes()
        else:
            flat = part.reshape(part.shape[0], -1, 1).astype(np.uint32)
            bits = (flat >> np.arange(self.bits - 1, -1, -1, dtype=np.uint32)) & 1
            raw = np.packbits(bits.astype(np.uint8).reshape(part.shape[0], -1), axis=1).tobytes()
        packed = self._compressed(raw, part.shape[0])
        return bytes(int(f"{b:08b}"[::-1], 2) for b in packed) if self.fill_order == 2 else packed

    def _compressed(self, raw: bytes, rows: int) -> bytes:
        if self.compression == 1:
            return raw
        if self.compression in (8, 32946):
            return zlib.compress(raw)
        # LZW, PackBits, LZMA and ZSTD as libtiff writes them, of bytes that it takes for grey.
        name = {5: "tiff_lzw", 32773: "packbits", 34925: "lzma", 50000: "zstd"}[self.compression]
        grey = Image.frombytes("L", (len(raw) // rows, rows), raw)
        buffer = io.BytesIO()
        grey.save(buffer, "TIFF", compression=name, tiffinfo={278: rows})
        data = buffer.getvalue()
        with Image.open(io.BytesIO(data)) as image:
            (place,), (size,) = (tuple(image.tag_v2[tag]) for tag in (273, 279))
        return data[place : place + size]

    def _written(self, entries: dict[int, tuple[int, tuple[int, ...]]], parts: list[bytes], offsets: int) -> bytes:
        number, inline = ("Q", 8) if self.big else ("I", 4)
        head = 16 if self.big else 8
        body, places = b"", []
        for part in parts:
            body += b"\0" * (len(body) % 2)
            places.append(head + len(body))
            body += part
        body += b"\0" * (len(body) % 2)
        entries[offsets] = (16 if self.big else 4, tuple(places))
        directory = head + len(body)
        spill_at = directory + (8 if self.big else 2) + len(entries) * (20 if self.big else 12) + inline
        table, spill = b"", b""
        for tag, (kind, values) in sorted(entries.items()):
            packed = struct.pack(f"{self.order}{len(values)}{TYPES[kind]}", *values)
            if len(packed) > inline:
                place = struct.pack(self.order + number, spill_at + len(spill))
                spill += packed + b"\0" * (len(packed) % 2)
            else:
                place = packed.ljust(inline, b"\0")
            table += struct.pack(f"{self.order}HH{number}", tag, kind, len(values)) + place
        mark = b"II" if self.order == "<" else b"MM"
        if self.big:
            first = mark + struct.pack(self.order + "HHHQ", 43, 8, 0, directory)
        else:
            first = mark + struct.pack(self.order + "HI", 42, directory)
        count = struct.pack(self.order + ("Q" if self.big else "H"), len(entries))
        return first + body + count + table + bytes(inline) + spill


def random_tiff(dice: np.random.Generator) -> bytes:
    """Draw a TIFF, most of kinds that are in use, some of none."""
    photometric = int(dice.choice([0, 1, 1, 2, 2, 2, 3, 5]))
    colors = {2: 3, 5: 4}.get(photometric, 1)
    extra = tuple(int(one) for one in dice.choice([0, 1, 2], int(dice.choice([0, 0, 0, 1, 2]))))
    bits = int(
        dice.choice({3: [1, 2, 4, 8], 5: [8, 8, 16]}.get(photometric, [1, 2, 4, 8, 8, 8, 10, 12, 14, 16, 16, 16]))
    )
    compression = int(dice.choice([1, 1, 5, 8, 32773, 32946, 34925, 50000]))
    width, height = (int(side) for side in dice.integers(1, 70, 2))
    tiled = dice.random() < 0.25
    samples = dice.integers(0, 1 << bits, (height, width, colors + len(extra)))
    if dice.random() < 0.5:  # smooth, as most images are
        ramp = np.linspace(0, (1 << bits) - 1, width * height).reshape(height, width, 1)
        samples = np.rint(ramp * np.ones(samples.shape[2])).astype(np.int64)
    predicts = bits in (8, 16) and compression in (5, 8, 32946, 34925, 50000)
    more: dict[int, tuple[int, tuple[int, ...]]] = {}
    if photometric == 3:
        more[320] = (3, tuple((dice.integers(0, 256, 3 << bits) * 257).tolist()))
    return Tiff(
        samples,
        bits,
        photometric,
        order=str(dice.choice(["<", ">"])),
        planar=bool(dice.random() < 0.3),
        extra=extra if extra or dice.random() < 0.1 else None,
        compression=compression,
        predictor=2 if predicts and dice.random() < 0.5 else 1,
        fill_order=2 if dice.random() < 0.1 else 1,
        rows=None if dice.random() < 0.4 else int(dice.integers(1, height + 3)),
        tile=tuple(16 * int(side) for side in dice.integers(1, 4, 2)) if tiled else None,  # type: ignore[arg-type]
        orientation=int(dice.integers(0, 10)) if dice.random() < 0.3 else None,
        xmp=int(dice.integers(1, 9)) if dice.random() < 0.15 else None,
        format=int(dice.integers(1, 4)) if dice.random() < 0.15 else None,
        big=bool(dice.random() < 0.15),
        more=more,
    ).write()


def random_png(dice: np.random.Generator) -> bytes:
    """Draw a PNG of any colour type and depth, of unfiltered rows."""
    color = int(dice.choice([0, 2, 2, 3, 4, 6]))
    depths = {0: [1, 2, 4, 8, 16], 2: [8, 16], 3: [1, 2, 4, 8], 4: [8, 16], 6: [8, 16]}[color]
    depth = int(dice.choice(depths))
    width, height = (int(side) for side in dice.integers(1, 70, 2))
    row = (width * depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color] + 7) // 8
    rows = b"".join(b"\0" + dice.bytes(row) for _ in range(height))
    before = []
    if dice.random() < 0.3:
        before.append(chunk(b"eXIf", exif(int(dice.integers(0, 10))).tobytes().removeprefix(b"Exif\0\0")))
    if dice.random() < 0.1:
        before.append(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP % int(dice.integers(1, 9))))
    if dice.random() < 0.2:
        before.append(chunk(b"gAMA", struct.pack(">I", 45455)))
    if color == 3:
        before.append(chunk(b"PLTE", dice.bytes(3 << depth)))
    if dice.random() < 0.3 and color in (0, 2, 3):
        few = {0: 2, 2: 6, 3: min(1 << depth, 5)}[color]
        before.append(chunk(b"tRNS", bytes(few) if color != 3 else dice.bytes(few)))
    return png(width, height, rows, *before, bit_depth=depth, color_type=color)


def random_other(dice: np.random.Generator) -> bytes:
    """Draw a JPEG, WebP, BMP or GIF, or a TIFF or PNG as Pillow and OpenCV write them."""
    mode = str(dice.choice(["L", "RGB", "RGB", "CMYK", "P", "1", "RGBA", "I;16", "YCbCr", "LAB", "LA"]))
    seed = int(dice.integers(1 << 30))
    image = _of_mode(mode, seed)
    options: dict[str, Any] = {}
    kind = str(dice.choice(["JPEG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PNG", "OPENCV"]))
    if kind == "OPENCV":
        deep = noise(*([], [3], [4])[int(dice.integers(3))], dtype=np.uint16, seed=seed)
        return cv2.imencode(str(dice.choice([".png", ".tiff"])), deep)[1].tobytes()
    if kind == "JPEG":
        image = _of_mode("RGB", seed).convert(str(dice.choice(["L", "RGB", "CMYK", "YCbCr"])))
        options = {"subsampling": int(dice.integers(3)), "progressive": bool(dice.integers(2))}
    if kind == "WEBP":
        image, options = _of_mode("RGBA" if dice.integers(2) else "RGB", seed), {"lossless": bool(dice.integers(2))}
    if kind in ("BMP", "PNG") and mode not in ("1", "L", "P", "RGB"):
        image = _of_mode("RGB", seed)
    if kind == "GIF":
        image = _of_mode("P", seed)
    if kind == "TIFF":
        compression = dice.choice(["raw", "tiff_lzw", "jpeg", "group4", "tiff_adobe_deflate", "packbits"])
        if compression == "jpeg" and mode not in ("L", "RGB", "YCbCr"):
            compression = "raw"
        if compression == "group4":
            image = _of_mode("1", seed)
        options = {"compression": str(compression)}
    if kind in ("JPEG", "WEBP", "TIFF", "PNG") and dice.random() < 0.4:
        options["exif"] = exif(int(dice.integers(1, 9)))
    return saved(image, kind, **options)


def _of_mode(mode: str, seed: int) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(noise(dtype=np.uint16, seed=seed))
    if mode == "LAB":
        return Image.frombytes("LAB", (WIDTH, HEIGHT), noise(3, seed=seed).tobytes())
    return Image.fromarray(noise(3, seed=seed)).convert("L" if mode == "LA" else "RGB").convert(mode)


def mutated(data: bytes, dice: np.random.Generator) -> bytes:
    """Exchange, leave out or put in a few bytes, most of them near the beginning or the end, where headers are."""
    changed = bytearray(data)
    for _ in range(int(dice.integers(1, 4))):
        span = int(dice.choice([64, 400, len(changed)]))
        place = int(dice.integers(0, min(span, len(changed))))
        if dice.random() < 0.5:
            place = len(changed) - 1 - place
        changed[place : place + 1] = dice.bytes(int(dice.choice([1, 1, 1, 0, 2])))
    return bytes(changed)


def drawn_files(count: int, seed: int = 0) -> Iterator[bytes]:
    """Draw files of all kinds; half of them are damaged."""
    dice = np.random.default_rng(seed)
    for number in range(count):
        build = (random_tiff, random_tiff, random_png, random_other)[number % 4]
        data = build(dice)
        yield mutated(data, dice) if dice.random() < 0.5 else data


__all__ = ["HEIGHT", "WIDTH", "XMP", "Tiff", "animated", "drawn_files", "mutated", "random_tiff"]
