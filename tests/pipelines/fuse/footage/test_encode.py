"""Encoded frames, and that segments fit together."""

from fractions import Fraction

import numpy as np
import pytest

from pipelines.fuse.footage.container import RecordingError
from pipelines.fuse.footage.encode import CONTAINERS, Encoder
from pipelines.fuse.footage.frames import open_source


def encode(path, images, codec="h264"):
    encoder = Encoder(path, codec, 18, Fraction(1, 12800), 25.0)
    for number, image in enumerate(images):
        encoder.put(image, 7000 + 512 * number)
    encoder.finish()
    with open_source(str(path), 10**8) as source:
        return [frame.read() for frame in source.frames(0, float("inf"))]


@pytest.mark.parametrize("shape", [(48, 64, 3), (47, 63), (47, 63, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_ffv1_loses_nothing(tmp_path, shape, dtype):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype) for _ in range(5)]
    for shown, image in zip(encode(tmp_path / "x.mkv", images, "ffv1"), images, strict=True):
        assert shown.dtype == dtype
        np.testing.assert_array_equal(shown, image)


@pytest.mark.parametrize(
    ("codec", "dtype", "deep"),
    [("h264", np.uint8, False), ("h264", np.uint16, False), ("h265", np.uint8, False), ("h265", np.uint16, True)],
)
def test_colours_and_levels_are_those_that_went_in(tmp_path, codec, dtype, deep):
    scale = np.iinfo(dtype).max // 255
    for colour in ((0, 0, 0), (255, 255, 255), (128, 128, 128), (200, 60, 30), (20, 90, 220)):
        image = (np.zeros((48, 64, 3), np.uint32) + colour).astype(dtype) * dtype(scale)
        shown = encode(tmp_path / "x.mp4", [image] * 3, codec)[2]
        assert (shown.dtype == np.uint16) == deep
        back = shown.astype(float) / (257 if deep else 1)
        assert np.abs(back - colour).max() <= 4, colour
    grey = np.full((48, 64), 100 * scale, dtype)
    assert np.abs(encode(tmp_path / "x.mp4", [grey], codec)[0].astype(float) / (257 if deep else 1) - 100).max() <= 2


@pytest.mark.parametrize("codec", ["h264", "h265", "ffv1"])
def test_the_same_frames_give_the_same_bytes(tmp_path, codec):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(12)]
    files = [tmp_path / f"{name}{CONTAINERS[codec]}" for name in "ab"]
    for file in files:
        encode(file, images, codec)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_odd_size_is_refused_where_the_codec_has_none(tmp_path):
    with pytest.raises(RecordingError, match=r"63x48.*ffv1") as refused:
        encode(tmp_path / "x.mp4", [np.zeros((48, 63, 3), np.uint8)])
    assert refused.value.code == "write_failed"
