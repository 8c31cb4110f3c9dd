"""Every tag of a TIFF that changes pixels is honoured, or the file is refused by the name of its kind."""

import io
import struct
import tracemalloc
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.image_files import noise, saved
from tests.image_kinds import XMP, Tiff
from upfusion.images import ImageError, decode_image, image_size

HEIGHT, WIDTH = 23, 37


def samples(count: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << bits, (HEIGHT, WIDTH, count))


def refused(data: bytes, code: str, kind: str | None = None) -> None:
    with pytest.raises(ImageError, match=kind) as error:
        decode_image(data)
    assert error.value.code == code


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("layout", [{}, {"rows": 5}, {"tile": (16, 32)}], ids=["whole", "strips", "tiles"])
def test_separate_planes_are_the_same_pixels_as_interleaved(order, big, bits, layout):
    pixels = samples(3, bits)
    of_planes = Tiff(pixels, bits, 2, order=order, big=big, planar=True, **layout).write()
    decoded = decode_image(of_planes).pixels
    assert decoded.dtype == np.dtype(f"u{bits // 8}")
    np.testing.assert_array_equal(decoded, pixels)
    np.testing.assert_array_equal(
        decode_image(Tiff(pixels, bits, 2, order=order, big=big, **layout).write()).pixels, pixels
    )


@pytest.mark.parametrize("compression", [1, 5, 8, 32773, 32946, 34925, 50000])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_packed_samples_are_unpacked(compression, predictor, planar, order):
    if predictor == 2 and compression in (1, 32773):
        pytest.skip("there is no prediction without compression")
    pixels = samples(3, 16)
    made = Tiff(pixels, 16, 2, order=order, compression=compression, predictor=predictor, planar=planar, rows=4)
    np.testing.assert_array_equal(decode_image(made.write()).pixels, pixels)
    tiled = replace(made, rows=None, tile=(32, 16))
    np.testing.assert_array_equal(decode_image(tiled.write()).pixels, pixels)


@pytest.mark.parametrize("bits", [*range(1, 17)])
@pytest.mark.parametrize("order", "<>")
def test_the_declared_depth_is_the_range(bits, order):
    values = samples(1, bits)
    values[0, :2, 0] = 0, (1 << bits) - 1
    decoded = decode_image(Tiff(values, bits, 1, order=order, rows=7).write()).pixels
    top = 255 if bits <= 8 else 65535
    assert decoded.dtype == (np.uint8 if bits <= 8 else np.uint16)
    assert decoded[0, :2].tolist() == [0, top]
    np.testing.assert_array_equal(decoded, np.floor(values[..., 0] * top / ((1 << bits) - 1) + 0.5))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [4, 8, 12, 16])
def test_zero_may_be_white(order, bits):
    values = samples(1, bits)
    top = (1 << bits) - 1
    black, white = (
        decode_image(Tiff(v, bits, p, order=order).write()).pixels for v, p in ((values, 1), (top - values, 0))
    )
    np.testing.assert_array_equal(black, white)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("extra", "alpha"), [((2,), True), ((0,), False), ((1,), True), ((0, 0), False), ((2, 0), True)]
)
@pytest.mark.parametrize("planar", [False, True])
def test_samples_beyond_the_colours_are_dropped_and_alpha_is_noted(bits, extra, alpha, planar):
    top = (1 << bits) - 1
    pixels = np.concatenate([samples(3, bits), np.full((HEIGHT, WIDTH, len(extra)), top)], axis=2)
    decoded = decode_image(Tiff(pixels, bits, 2, extra=extra, planar=planar).write())
    np.testing.assert_array_equal(decoded.pixels, pixels[..., :3])
    assert decoded.alpha_dropped == alpha


def test_premultiplied_colour_is_divided_by_its_alpha():
    pixels = np.zeros((1, 4, 4), int)
    pixels[0] = [[100, 50, 0, 128], [255, 255, 255, 255], [9, 9, 9, 0], [200, 0, 0, 100]]
    decoded = decode_image(Tiff(pixels, 8, 2, extra=(1,)).write()).pixels
    assert decoded.tolist() == [[[199, 99, 0], [255, 255, 255], [0, 0, 0], [255, 0, 0]]]
    deep = decode_image(Tiff(pixels * 257, 16, 2, extra=(1,)).write()).pixels
    assert np.abs(deep / 257 - decoded).max() < 1


def test_a_palette_of_16_and_of_8_bits():
    places = samples(1, 4)
    colors = np.random.default_rng(1).integers(0, 256, (3, 16))
    for scale in (256, 257, 1):
        more = {320: (3, tuple((colors * scale).ravel().tolist()))}
        decoded = decode_image(Tiff(places, 4, 3, more=more).write()).pixels
        np.testing.assert_array_equal(decoded, colors.T[places[..., 0]])


def test_cmyk_of_8_and_16_bits_is_the_same_colour():
    inks = samples(4, 8)
    eight, sixteen = (decode_image(Tiff(inks * k, b, 5).write()).pixels for k, b in ((1, 8), (257, 16)))
    with Image.open(io.BytesIO(Tiff(inks, 8, 5).write())) as image:
        np.testing.assert_allclose(eight.astype(int), np.asarray(image.convert("RGB")).astype(int), atol=1)
    assert sixteen.dtype == np.uint16
    assert np.abs(sixteen / 257 - eight).max() < 1


@pytest.mark.parametrize("fill", [1, 2])
@pytest.mark.parametrize("bits", [1, 8, 12, 16])
def test_bits_may_lie_in_reverse(fill, bits):
    values = samples(1, bits)
    top = 255 if bits <= 8 else 65535
    decoded = decode_image(Tiff(values, bits, 1, fill_order=fill).write()).pixels
    np.testing.assert_array_equal(decoded, np.floor(values[..., 0] * top / ((1 << bits) - 1) + 0.5))


# Orientation


@pytest.mark.parametrize("by", ["orientation", "xmp"])
@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(("count", "photometric", "bits"), [(1, 1, 16), (3, 2, 16), (3, 2, 8), (1, 1, 12)])
def test_a_tag_and_xmp_turn_every_kind_alike(by, turn, count, photometric, bits):
    pixels = samples(count, bits)
    data = Tiff(pixels, bits, photometric, **{by: turn}).write()
    plain = decode_image(Tiff(pixels, bits, photometric).write()).pixels
    turned = {
        1: plain, 2: plain[:, ::-1], 3: plain[::-1, ::-1], 4: plain[::-1], 5: plain.swapaxes(0, 1),
        6: plain.swapaxes(0, 1)[:, ::-1], 7: plain.swapaxes(0, 1)[::-1, ::-1], 8: plain.swapaxes(0, 1)[::-1],
    }[turn]  # fmt: skip
    decoded = decode_image(data).pixels
    np.testing.assert_array_equal(decoded, turned)
    assert image_size(data) == decoded.shape[1::-1]


def test_the_tag_counts_before_xmp():
    decoded = decode_image(Tiff(samples(1, 16), 16, 1, orientation=1, xmp=6).write()).pixels
    assert decoded.shape == (HEIGHT, WIDTH)


def test_xmp_turns_a_jpeg_in_a_tiff():
    jpeg = saved(Image.fromarray(noise(3)), "TIFF", compression="jpeg", tiffinfo={700: XMP % 6})
    assert decode_image(jpeg).pixels.shape == (64, 48, 3)
    assert image_size(jpeg) == (48, 64)


# What is refused, by the name of its kind


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (Tiff(samples(1, 16), 16, 1, format=3), "16-bit.*floats"),
        (Tiff(samples(1, 16), 32, 1, format=3), "32-bit.*floats"),
        (Tiff(samples(1, 16), 32, 1), "32-bit"),
        (Tiff(samples(1, 8), 8, 1, format=2), "8-bit.*signed"),
        (Tiff(samples(1, 16), 16, 1, format=2), "16-bit.*signed"),
        (Tiff(samples(5, 16), 16, 1), "5 channels|colours"),
        (Tiff(samples(1, 16), 16, 32803), "mosaic"),
        (Tiff(samples(3, 8), 8, 8), r"L\*a\*b\*"),
        (Tiff(samples(3, 16), 16, 6), "YCbCr"),
        (Tiff(samples(4, 8), 8, 5, more={332: (3, (2,))}), "inks"),
        (Tiff(samples(1, 8), 8, 1, more={259: (3, (33003,))}), "JPEG 2000"),
        (Tiff(samples(1, 8), 8, 1, more={259: (3, (50002,))}), "JPEG XL"),
        (Tiff(samples(1, 1), 1, 1, more={259: (3, (4,))}), "CCITT"),
        (Tiff(samples(1, 16), 16, 1, compression=8, more={317: (3, (3,))}), "predictor 3"),
        (Tiff(samples(3, 8), 8, 2, more={258: (3, (5, 6, 5))}), "depths"),
        (Tiff(samples(1, 8), 8, 1, more={254: (4, (1,)), 330: (4, (8,))}), "reduced"),
    ],
)
def test_a_kind_that_is_not_read_is_named(made, kind):
    refused(made.write(), "unsupported_image", kind)


@pytest.mark.parametrize("compression", [1, 5, 8, 32773])
def test_a_file_that_ends_early_says_so(compression):
    data = Tiff(samples(3, 16), 16, 2, compression=compression, rows=4).write()
    head, directory = data[:8], read_directory(data)
    # The directory first, as most writers have it, and then the file cut within the pixels.
    moved = head[:4] + struct.pack("<I", len(data)) + data[8:] + directory
    assert decode_image(moved).pixels.shape == (HEIGHT, WIDTH, 3)
    refused(data[: len(data) // 2], "truncated_image")


def read_directory(data: bytes) -> bytes:
    (place,) = struct.unpack_from("<I", data, 4)
    return data[place:]


@pytest.mark.parametrize("compression", [5, 8, 32773, 34925])
def test_damage_in_packed_samples_is_damage(compression):
    made = Tiff(samples(1, 16) * 0 + 7, 16, 1, compression=compression).write()
    broken = bytearray(made)
    broken[8:14] = b"\xff\0\xff\0\xff\0"
    refused(bytes(broken), "damaged_image")


def test_a_tag_that_is_there_twice_is_damage():
    made = bytearray(Tiff(samples(1, 8), 8, 1).write())
    place = made.index(struct.pack("<HH", 257, 4))
    made[place : place + 2] = struct.pack("<H", 256)
    refused(bytes(made), "damaged_image", "256")


def test_a_part_that_unpacks_to_more_than_declared_costs_no_more():
    small = Tiff(samples(1, 8) * 0, 8, 1, compression=8)
    bomb = _with_part(small, zlib.compress(bytes(200_000_000), 9))
    tracemalloc.start()
    np.testing.assert_array_equal(decode_image(bomb).pixels, np.zeros((HEIGHT, WIDTH), np.uint8))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def _with_part(made: Tiff, part: bytes) -> bytes:
    class Packed(Tiff):
        def _parts(self) -> list[bytes]:
            return [part]

    return Packed(made.samples, made.bits, made.photometric, compression=made.compression).write()


def test_what_opencv_and_pillow_write_is_read_as_written():
    pixels = noise(3, dtype=np.uint16)
    for options in ([], [cv2.IMWRITE_TIFF_COMPRESSION, 5], [cv2.IMWRITE_TIFF_COMPRESSION, 32773]):
        written = cv2.imencode(".tiff", pixels[..., ::-1], options)[1].tobytes()
        np.testing.assert_array_equal(decode_image(written).pixels, pixels)
