"""Whatever a file holds: an image or an ImageError, without a warning, in bounded memory."""

import io
import json
import subprocess
import sys
import threading
import time
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.image_files import (
    BAD,
    HARMLESS,
    HEIGHT,
    MAX_PIXELS,
    ORDINARY,
    WIDTH,
    animated,
    jpeg_of_scans,
    saved,
    tiff_of_pages,
)
from upfusion.image_guard import MAX_PIXELS as DEFAULT
from upfusion.image_guard import PILLOWS_LIMIT, ImageError
from upfusion.images import SUFFIXES, decode_image, format_of, image_size

ROOT = Path(__file__).parents[2]
BYTES_A_PIXEL, BYTES_A_BYTE, BYTES_BESIDES = 24, 2, 64_000_000
"""What decoding may take, as docs/failures.md has it."""

CODES = {"empty_file", "not_an_image", "truncated_image", "damaged_image", "unsupported_image", "too_large"}


@pytest.mark.parametrize("kind", ORDINARY)
def test_an_ordinary_file_is_decoded(kind):
    assert decode_image(ORDINARY[kind]()).pixels.shape[:2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_has_its_code(kind):
    build, code = BAD[kind]
    with pytest.raises(ImageError) as refused:
        decode_image(build(), MAX_PIXELS)
    assert refused.value.code == code
    assert len(str(refused.value)) > 20


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_bomb_that_is_harmless_ends_in_time(kind):
    data = HARMLESS[kind]()
    started = time.monotonic()
    outcome(data)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 48\n",
        saved(Image.new("RGB", (64, 48)), "TGA"),
        saved(Image.new("RGB", (64, 48)), "ICO"),
        saved(Image.new("RGB", (64, 48)), "PPM"),
        saved(Image.new("RGB", (64, 48)), "EPS"),
    ],
    ids=["EPS", "TGA", "ICO", "PPM", "EPS with pixels"],
)
def test_formats_that_no_name_promises_are_not_opened(data):
    with pytest.raises(ImageError) as refused:
        decode_image(data)
    assert refused.value.code == "not_an_image"
    assert format_of(data) is None


def test_every_format_that_a_name_promises_is_opened():
    known = Image.registered_extensions()
    for suffix in SUFFIXES:
        data = saved(Image.new("RGB", (WIDTH, HEIGHT)), known[suffix])
        assert format_of(data) == known[suffix]


def test_a_jpeg_with_more_pictures_behind_it_is_a_jpeg():
    assert format_of(animated("MPO")) == "JPEG"


@pytest.mark.parametrize(
    ("mode", "options", "begins"),
    [("I;16", {}, b"II*\0"), ("I;16B", {}, b"MM\0*"), ("I;16", {"big_tiff": True}, b"II+\0")],
)
def test_pages_are_counted_in_every_kind_of_tiff(mode, options, begins):
    pages = [Image.new(mode, (WIDTH, HEIGHT)) for _ in range(3)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], **options)
    assert data.startswith(begins)
    assert decode_image(data).frames == 3


def test_pages_in_a_circle_are_counted_once():
    data = bytearray(tiff_of_pages(4))
    assert decode_image(bytes(data)).frames == 4
    data[-4:] = (len(data) - 6).to_bytes(4, "little")
    assert decode_image(bytes(data)).frames == 4


def test_the_first_frame_is_the_one_that_is_decoded():
    for image_format in ("PNG", "TIFF"):
        first = decode_image(animated(image_format)).pixels
        np.testing.assert_array_equal(first, decode_image(animated(image_format, frames=1)).pixels)


def test_only_scans_of_the_first_picture_count():
    thumbnail = b"\xff\xe5\x01\x92" + b"\xff\xda" * 200
    photo = ORDINARY["JPEG"]()
    assert outcome(photo[:2] + thumbnail + photo[2:]) == "decoded"
    assert decode_image(animated("MPO", frames=120)).frames == 120
    assert outcome(jpeg_of_scans(100)) == "decoded"


def test_more_pixels_than_pillow_takes_are_refused_whatever_the_limit():
    with pytest.raises(ImageError, match=str(PILLOWS_LIMIT)):
        decode_image(BAD["PNG that claims 4 billion pixels"][0](), 1 << 40)
    assert DEFAULT < PILLOWS_LIMIT == 2 * (Image.MAX_IMAGE_PIXELS or 0)


def test_what_pillow_warns_of_is_neither_said_nor_an_error():
    data = HARMLESS["PNG whose EXIF names the same megabyte 60,000 times"]()
    with pytest.warns(UserWarning, match="Tag data larger than file"), Image.open(io.BytesIO(data)) as image:
        image.getexif()
    assert outcome(data) == "decoded"


def test_filters_of_warnings_are_left_as_they_were_by_many_threads():
    before = list(warnings.filters)
    damaged = ORDINARY["TIFF"]()[:-200]
    threads = [threading.Thread(target=lambda: [outcome(damaged) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


# Damage that nobody thought of


@cache
def ordinary_files() -> list[bytes]:
    return [build() for kind, build in ORDINARY.items() if kind != "TIFF of more than 10,000 pages"]


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """An ordinary file with bytes exchanged, cut out, repeated, or put in from another file."""
    data = bytearray(draw(st.sampled_from(ordinary_files())))
    for _ in range(draw(st.integers(1, 4))):
        # Headers are where it hurts.
        place = draw(st.one_of(st.integers(0, min(200, len(data))), st.integers(0, len(data))))
        match draw(st.sampled_from(["exchange", "number", "cut", "repeat", "splice"])):
            case "exchange":
                data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
            case "number":
                number = draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 0x10000]))
                data[place : place + 4] = number.to_bytes(4, draw(st.sampled_from(["little", "big"])))
            case "cut":
                del data[place : place + draw(st.integers(1, len(data) + 1))]
            case "repeat":
                data[place:place] = data[place : place + draw(st.integers(1, 300))] * draw(st.integers(1, 50))
            case "splice":
                other = draw(st.sampled_from(ordinary_files()))
                start = draw(st.integers(0, len(other)))
                data[place:place] = other[start : start + draw(st.integers(1, 300))]
    return bytes(data)


def outcome(data: bytes) -> str:
    try:
        image = decode_image(data, MAX_PIXELS)
    except ImageError as error:
        return error.code
    assert image.pixels.dtype in (np.uint8, np.uint16)
    assert image.pixels.shape[2:] in ((), (3,))
    assert 0 < image.pixels.shape[0] * image.pixels.shape[1] <= MAX_PIXELS
    return "decoded"


@settings(max_examples=400, deadline=None)
@given(damaged_files() | st.binary(max_size=2000))
def test_any_bytes_are_an_image_or_an_image_error(data):
    assert outcome(data) in {"decoded", *CODES}
    format_of(data)
    with suppress(ImageError):
        assert min(image_size(data)) > 0


# Memory

MEASURE = """
import json, sys
import numpy as np
from PIL import Image
from tests.image_files import BAD, HARMLESS, MAX_PIXELS, ORDINARY, damaged_files, saved
from upfusion.images import ImageError, decode_image
import cv2

def memory(name):
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith(name))

def largest():
    side = 3000
    flat = np.add.outer(np.arange(side), np.arange(side)).astype(np.uint8)
    rgba = np.stack([flat] * 4, -1)
    rgb16 = rgba.astype(np.uint16) * 257
    cmyk = Image.fromarray(rgba[..., :3].copy()).convert("CMYK")
    yield "WebP", saved(Image.fromarray(rgba), "WEBP", lossless=True, quality=0, method=0), side * side
    yield "PNG", saved(Image.fromarray(rgba), "PNG", compress_level=1), side * side
    yield "16-bit colour", cv2.imencode(".png", rgb16, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes(), side * side
    yield "CMYK", saved(cmyk, "JPEG", progressive=True, subsampling=0), side * side
    yield "TIFF", saved(cmyk, "TIFF"), side * side

def files():
    yield from largest()
    for name, build in {**{name: build for name, (build, _) in BAD.items()}, **HARMLESS}.items():
        yield name, build(), MAX_PIXELS
    for turn, data in enumerate(damaged_files(int(sys.argv[1]))):
        yield f"damaged {turn}", data, MAX_PIXELS

decode_image(ORDINARY["colour, 16 bits"]())  # what is loaded once
for name, data, max_pixels in files():
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before = memory("VmRSS")
    try:
        code = "decoded"
        decode_image(data, max_pixels)
    except ImageError as error:
        code = error.code
    print(json.dumps([name, code, max_pixels, len(data), memory("VmHWM") - before]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory can be reset on Linux alone")
@pytest.mark.parametrize("damaged", [400, pytest.param(4000, marks=pytest.mark.extended)])
def test_no_file_takes_more_memory_than_the_page_says(damaged: int):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE, str(damaged)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(measured) > damaged
    assert len({code for _, code, *_ in measured}) == len(CODES) + 1
    for name, _, max_pixels, size, used in measured:
        assert used < BYTES_A_PIXEL * max_pixels + BYTES_A_BYTE * size + BYTES_BESIDES, name
    # The largest kind comes near what is said, so that it is no bound for its own sake.
    assert max(used / max_pixels for _, _, max_pixels, _, used in measured if max_pixels > MAX_PIXELS) > 16


def test_the_page_says_the_same():
    page = (ROOT / "docs" / "failures.md").read_text()
    for said in (f"- {BYTES_A_PIXEL} bytes per pixel", f"- {BYTES_A_BYTE} bytes per byte of its file", "- 64 MB"):
        assert said in page
