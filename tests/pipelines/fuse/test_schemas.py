"""The schemas of a fuse job."""

import pyarrow as pa

from pipelines.archive.rows import DECODED
from pipelines.fuse.schemas import STAGES, fused_schema, output_schema


def test_rows_have_a_column_for_every_metric_and_stage():
    names = output_schema(("vif", "en")).names
    assert names[:5] == ["pair_id", "a_uri", "b_uri", "task", "prompt"]
    assert {"vif", "en", *(f"{stage}_ms" for stage in STAGES)} <= set(names)
    assert set(output_schema(()).names) == set(names) - {"vif", "en"}
    assert set(fused_schema(("vif",)).names) - {"metadata"} < {*names, "fused"}


def test_what_one_stage_gives_the_next_one_passes_on():
    kept = {"pair_id", "a_uri", "b_uri", "task", "prompt", "error_code", "error", "fetch_ms"}
    for schema in (DECODED, fused_schema(()), output_schema(())):
        assert kept <= set(schema.names)


def test_the_fused_image_has_the_form_that_parquet_tools_show():
    assert output_schema(()).field("fused").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
