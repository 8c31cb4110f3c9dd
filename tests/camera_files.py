"""Files as thermal cameras write them; FLIR's radiometric JPEG to the layout that ExifTool documents."""

import io
import struct

import cv2
import numpy as np
from PIL import Image

# What a FLIR i7 wrote.
CALIBRATION = {
    "emissivity": 0.95, "distance": 2.0, "reflected": 293.15, "atmosphere": 295.15, "window": 294.15,
    "transmission": 0.97, "humidity": 0.5, "r1": 13799.269, "b": 1374.5, "f": 1.35, "o": -6646, "r2": 0.022241818,
}  # fmt: skip
WIDTH, HEIGHT = 80, 60


def counts(seed=0, low=22_000, high=23_200, width=WIDTH, height=HEIGHT):
    """Sensor counts of an ordinary scene: blobs between `low` and `high`, with a little noise."""
    dice = np.random.default_rng(seed)
    blobs = cv2.GaussianBlur(dice.normal(size=(height, width)).astype(np.float32), (0, 0), 7)
    spread = (blobs - blobs.min()) / np.ptp(blobs)
    noisy = low + spread * (high - low) + dice.normal(0, 4, spread.shape)
    return np.clip(np.rint(noisy), low, high).astype(np.uint16)


def visible(seed=0, width=4 * WIDTH, height=4 * HEIGHT):
    """A smooth colour image, which JPEG hardly changes."""
    dice = np.random.default_rng(seed)
    small = dice.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def camera_info(order="<", median=22_600, **changes):
    values = CALIBRATION | changes
    info = bytearray(0x400)
    struct.pack_into(f"{order}H", info, 0, 2)
    names = ("emissivity", "distance", "reflected", "atmosphere", "window", "transmission")
    struct.pack_into(f"{order}6f", info, 0x20, *(values[name] for name in names))
    struct.pack_into(f"{order}f", info, 0x3C, values["humidity"])
    struct.pack_into(f"{order}3f", info, 0x58, *(values[name] for name in ("r1", "b", "f")))
    struct.pack_into(f"{order}5f", info, 0x70, 0.006569, 0.01262, -0.002276, -0.00667, 1.9)
    struct.pack_into(f"{order}if", info, 0x308, values["o"], values["r2"])
    struct.pack_into(f"{order}H", info, 0x338, median)
    return bytes(info)


def jpeg(pixels, **options):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", **({"quality": 95} | options))
    return data.getvalue()


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def flir_jpeg(
    raw,
    *,
    photo=None,
    stored="png-swapped",
    directory=">",
    record="<",
    placement=(1.25, 5, -3),
    changes=None,
    **options,
):
    """Write a radiometric JPEG of counts `raw`, stored as `png-swapped` (as most cameras do), `png` or `raw`."""
    height, width = raw.shape
    bodies = {
        "png-swapped": lambda: png(raw.byteswap()),
        "png": lambda: png(raw),
        "raw": lambda: raw.astype(f"{record}u2").tobytes(),
    }
    records = [
        (0x01, struct.pack(f"{record}HHH", 2, width, height) + bytes(26) + bodies[stored]()),
        (0x20, camera_info(record, int(np.median(raw)), **(changes or {}))),
    ]
    if photo is not None:
        prefix = struct.pack(f"{record}HHH", 3, photo.shape[1], photo.shape[0]) + bytes(26)
        records += [
            (0x0E, prefix + jpeg(photo)),
            (0x2A, struct.pack("<fhh4h", *placement, 0, width - 1, 0, height - 1)),
        ]
    preview = jpeg(cv2.applyColorMap((raw // 256).astype(np.uint8), cv2.COLORMAP_HOT), **options)
    return with_segments(preview, fff(records, directory))


def fff(records, order=">"):
    """Write FLIR's own file of records (type, bytes), with empty entries behind them in its directory."""
    count = len(records) + 4
    directory, body, start = b"", b"", 0x40 + 0x20 * count
    for kind, data in records:
        directory += struct.pack(f"{order}HHIIIIIII", kind, 1, 100, 1, start + len(body), len(data), 0, 0, 0)
        body += data
    head = b"FFF\0" + b"CAMCTRL".ljust(16, b"\0") + struct.pack(f"{order}IIII", 100, 0x40, count, 2)
    return head.ljust(0x40, b"\0") + directory.ljust(0x20 * count, b"\0") + body


def with_segments(data, records, size=20_000):
    """Put FLIR's segments behind a JPEG's own first ones."""
    parts = [records[place : place + size] for place in range(0, len(records), size)]
    segments = b"".join(
        struct.pack(">HH", 0xFFE1, len(part) + 10) + b"FLIR\0\1" + bytes([number, len(parts) - 1]) + part
        for number, part in enumerate(parts)
    )
    place = 2
    while data[place + 1] in (0xE0, 0xE1):
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return data[:place] + segments + data[place:]


def dji_jpeg():
    """Write what is known of DJI's radiometric JPEG: its make in EXIF, and values in segments of their own."""
    block = Image.Exif()
    block[271] = "DJI"
    data = jpeg(visible(), exif=block.tobytes())
    values = counts(width=160, height=128).tobytes()
    segments = b"".join(
        struct.pack(">HH", 0xFFE3, len(values[place : place + 60_000]) + 2) + values[place : place + 60_000]
        for place in range(0, len(values), 60_000)
    )
    place = 2
    while data[place + 1] in (0xE0, 0xE1):
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return data[:place] + segments + data[place:]


def damaged(files, count, seed=0):
    """Yield files with a few bytes exchanged, left out or put in, most of them near the beginning or in the records."""
    dice = np.random.default_rng(seed)
    for turn in range(count):
        data = bytearray(files[turn % len(files)])
        for place in dice.integers(0, min(len(data), int(dice.choice([64, 1200, 3000, len(data)]))), 3):
            data[place : place + 1] = dice.bytes(dice.integers(0, 5))
        yield bytes(data)
