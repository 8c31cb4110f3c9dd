import numpy as np
import pyarrow as pa
import pytest

from pipelines.archive.rows import DECODED, IMAGE, pack_image, unpack_image
from pipelines.errors.failures import fail
from pipelines.fuse.schemas import STAGES, fused_schema, output_schema


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


def test_the_first_failure_of_a_pair_is_kept():
    row = {"pair_id": "x"}
    fail(row, "source_missing", "a is not there")
    fail(row, "size_mismatch", "sizes differ")
    assert (row["error_code"], row["error"]) == ("source_missing", "a is not there")


def test_a_failure_tells_no_secret(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open-sesame")
    row = {"error_code": None}
    fail(row, "source_unreadable", "signed with open-sesame at https://me:hidden@host/x")
    assert row["error"] == "signed with *** at https://me:***@host/x"


def test_rows_have_a_column_for_every_metric_and_stage():
    names = output_schema(("vif", "en")).names
    assert names[:5] == ["pair_id", "a_uri", "b_uri", "task", "prompt"]
    assert {"vif", "en", *(f"{stage}_ms" for stage in STAGES)} <= set(names)
    assert set(output_schema(()).names) == set(names) - {"vif", "en"}
    assert set(fused_schema(("vif",)).names) < {*names, "fused"}


def test_what_one_stage_gives_the_next_one_passes_on():
    kept = {"pair_id", "a_uri", "b_uri", "task", "prompt", "error_code", "error", "fetch_ms"}
    for schema in (DECODED, fused_schema(()), output_schema(())):
        assert kept <= set(schema.names)


def test_a_block_of_decoded_images_may_pass_two_gibibytes():
    assert IMAGE.field("data").type == pa.large_binary()


def test_the_fused_image_has_the_form_that_parquet_tools_show():
    assert output_schema(()).field("fused").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
