import numpy as np
import pyarrow as pa
import pytest

from pipelines.archive.rows import IMAGE, pack_image, unpack_image


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (1, 1), (1, 7, 3)])
def test_an_image_travels_through_arrow_unchanged(shape, dtype):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)
    (packed,) = pa.array([pack_image(pixels)], IMAGE).to_pylist()
    back = unpack_image(packed)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, pixels)
    assert (packed["height"], packed["width"], packed["bits"]) == (*shape[:2], 8 * np.dtype(dtype).itemsize)


def test_an_image_is_packed_as_it_looks_and_not_as_it_lies_in_memory():
    pixels = np.arange(24, dtype=np.uint8).reshape(4, 6)[::-1, ::2]
    np.testing.assert_array_equal(unpack_image(pack_image(pixels)), pixels)


def test_a_block_of_decoded_images_may_pass_two_gibibytes():
    assert IMAGE.field("data").type == pa.large_binary()
