"""Manifests that somebody else wrote."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.archive import manifest as module
from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from tests.pipelines.archive.found import find
from tests.pipelines.storage.code_in_parquet import hostile_parquet


@pytest.fixture
def place(place) -> str:
    """An empty folder, or an empty prefix."""
    return f"{place}/archive"


def write_manifest(folder: str, columns: dict[str, list[object]], form: str) -> str:
    table = pa.table(columns)
    buffer = io.BytesIO()
    if form == "parquet":
        pq.write_table(table, buffer)
    else:
        rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        buffer.write("\n".join(rows).encode())
    uri = storage.join(folder, f"pairs.{form}")
    storage.write_bytes(uri, buffer.getvalue())
    return uri


FULL = {
    "pair_id": ["000123", "000045"],
    "a_uri": ["vi/1.png", "s3://bucket/vi/2.png"],
    "b_uri": ["/data/ir/1.png", "../ir/2.png"],
    "task": ["ct_mri", "nir_visible"],
    "prompt": ["bones", "leaves"],
    "balance": [1, -0.5],
}


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_manifest_gives_its_pairs_with_uris_resolved_against_its_folder(place, form):
    allow = ("s3://bucket", "/data")
    found = find(write_manifest(place + "/lists", FULL, form), allow=allow)
    assert found.pairs.schema == MANIFEST_SCHEMA
    assert found.pairs.to_pylist() == [
        {
            "pair_id": "000045",
            "a_uri": "s3://bucket/vi/2.png",
            "b_uri": f"{place}/ir/2.png",
            "task": "nir_visible",
            "prompt": "leaves",
            "balance": -0.5,
        },
        {
            "pair_id": "000123",
            "a_uri": f"{place}/lists/vi/1.png",
            "b_uri": "/data/ir/1.png",
            "task": "ct_mri",
            "prompt": "bones",
            "balance": 1.0,
        },
    ]
    again = find(storage.join(place, "lists", f"pairs.{form}"), allow=allow, limit=1)
    assert again.pairs["pair_id"].to_pylist() == ["000045"]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_task_and_prompt_are_optional_and_other_columns_do_not_matter(tmp_path, form):
    columns = {name: FULL[name] for name in ("pair_id", "a_uri", "b_uri")}
    uri = write_manifest(str(tmp_path), {"camera": [1, 2], **columns}, form)
    assert find(uri).pairs["task"].to_pylist() == ["ir_visible", "ir_visible"]
    assert find(uri).pairs["prompt"].to_pylist() == [None, None]
    assert find(uri).pairs["balance"].to_pylist() == [None, None]
    assert find(uri, task="sar_optical").pairs["task"].to_pylist() == ["sar_optical", "sar_optical"]


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("balance", ["1.01", "-2", "much", "nan", "inf"])
def test_a_balance_that_is_none_is_named_with_its_row(tmp_path, balance, form):
    uri = write_manifest(str(tmp_path), FULL | {"balance": ["0", balance]}, form)
    with pytest.raises(UsageError, match=rf"\b2\b.*'{balance}'.*-1"):
        find(uri, allow=("s3://bucket", "/data"))


def test_text_in_csv_stays_as_it_is_and_empty_cells_mean_the_default(tmp_path):
    rows = [
        "pair_id,a_uri,b_uri,task,prompt,seen",
        "1e5,1.png,2.png,,,2024-01-01",
        "2024-01-02,1.png,2.png,,null,",
        "NA,1.png,2.png,ct_mri,,x",
        '"a,b","with ""quotes"".png",2.png,,"two\nlines",x',
        "true,東京.png,2.png,,,x",
    ]
    (tmp_path / "m.CSV").write_text("\n".join(rows), encoding="utf-8-sig")
    pairs = find(tmp_path / "m.CSV").pairs
    assert pairs["pair_id"].to_pylist() == ["1e5", "2024-01-02", "NA", "a,b", "true"]
    assert pairs["task"].to_pylist() == ["ir_visible", "ir_visible", "ct_mri", "ir_visible", "ir_visible"]
    assert pairs["prompt"].to_pylist() == [None, "null", None, "two\nlines", None]
    assert [Path(uri).name for uri in pairs["a_uri"].to_pylist()][3:] == ['with "quotes".png', "東京.png"]


def test_line_breaks_in_a_large_csv_split_no_row(tmp_path):
    prompt = "two\nlines " + 90 * "."
    rows = [f'{number},1.png,2.png,"{prompt}"' for number in range(20_000)]
    (tmp_path / "m.csv").write_text("\n".join(["pair_id,a_uri,b_uri,prompt", *rows]))
    pairs = find(tmp_path / "m.csv").pairs
    assert pairs.num_rows == 20_000
    assert set(pairs["prompt"].to_pylist()) == {prompt}


def test_parquet_of_other_text_types_is_read(tmp_path):
    columns = {
        "pair_id": pa.array([7, 8]),
        "a_uri": pa.array(["1.png", "2.png"], pa.large_string()),
        "b_uri": pa.array(["3.png", "4.png"]).dictionary_encode(),
        "prompt": pa.nulls(2),
    }
    pairs = find(write_manifest(str(tmp_path), columns, "parquet")).pairs
    assert pairs["pair_id"].to_pylist() == ["7", "8"]
    assert pairs["b_uri"].to_pylist() == [f"{tmp_path}/3.png", f"{tmp_path}/4.png"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"b_uri": None}, "missing b_uri; it has 'pair_id', 'a_uri', 'task', 'prompt'"),
        ({"pair_id": ["1", "1"]}, "pair_id '1'"),
        ({"task": ["ct_mri", "ct_scan"]}, "ir_visible, ct_mri"),
        ({"pair_id": ["1", None]}, "row 2 has no pair_id"),
        ({"a_uri": [None, "1.png"]}, "row 1 has no a_uri"),
        ({"b_uri": ["1.png", ""]}, "row 2 has no b_uri"),
        ({"pair_id": pa.array([{"id": 1}, {"id": 2}])}, "manifest.*cast from struct"),
        ({"pair_id": [], "a_uri": [], "b_uri": [], "task": [], "prompt": [], "balance": []}, "no pairs"),
    ],
)
def test_a_manifest_of_another_form_is_refused(tmp_path, changed, said):
    columns = {name: values for name, values in {**FULL, **changed}.items() if values is not None}
    uri = write_manifest(str(tmp_path), columns, "parquet")
    with pytest.raises(UsageError, match=said) as refused:
        find(uri)
    assert uri in str(refused.value)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("m.parquet", b"", "0 bytes"),
        ("m.parquet", b"pair_id,a_uri,b_uri\n1,2,3\n", "manifest"),
        ("m.csv", b"", "Empty CSV"),
        ("m.csv", b"pair_id;a_uri;b_uri\n1;2;3\n", "missing pair_id, a_uri, b_uri; it has 'pair_id;a_uri;b_uri'"),
        ("m.csv", b"pair_id,a_uri,b_uri,a_uri\n1,2,3,4\n", "2 columns named a_uri"),
        ("m.csv", b"pair_id,a_uri,b_uri\n1,2\n", "manifest"),
        ("m.csv", b"pair_id,a_uri,b_uri\ncaf\xe9,2,3\n", "manifest"),
        ("m.csv", b"pair_id,a_uri,b_uri\n", "no pairs"),
        ("m.csv", b"pair_id,a_uri,b_uri\n,2,3\n", "row 1 has no pair_id"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_by_name(tmp_path, name, data, said):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=said) as refused:
        find(tmp_path / name)
    assert f"{tmp_path}/{name}" in str(refused.value)


def test_damage_inside_a_parquet_manifest_is_refused_by_name(tmp_path):
    path = Path(write_manifest(str(tmp_path), FULL, "parquet"))
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(200) + data[204:])
    with pytest.raises(UsageError, match=r"pairs\.parquet.*manifest"):
        find(path)


def test_a_manifest_that_is_not_there_or_a_folder_is_refused(place, tmp_path):
    with pytest.raises(UsageError, match=f"{place}/m.parquet"):
        find(place + "/m.parquet")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(UsageError, match=r"folder\.parquet"):
        find(tmp_path / "folder.parquet")


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_manifest_in_a_bucket_names_objects_of_that_bucket_alone(bucket, form):
    for uri in ("/etc/passwd", "file:///etc/passwd", "s3://another/1.png", "../../another/1.png", "http://host/1"):
        columns = {"pair_id": ["1", "2"], "a_uri": ["1.png", uri], "b_uri": ["1.png", "s3a://bucket/1.png"]}
        columns["b_uri"][1] = f"{bucket}/ir/1.png".replace("s3://", "s3a://")
        manifest = write_manifest(f"{bucket}/lists", columns, form)
        with pytest.raises(UsageError, match=f"^{manifest}: row 2: a_uri: .* --allow ") as refused:
            find(manifest)
        proposed = str(refused.value).rpartition(" ")[2]
        assert find(manifest, allow=(proposed,)).pairs.num_rows == 2


def test_a_local_manifest_names_local_files_and_buckets(tmp_path):
    columns = {"pair_id": ["1"], "a_uri": ["../1.png"], "b_uri": ["s3://any/1.png"]}
    found = find(write_manifest(str(tmp_path / "lists"), columns, "csv")).pairs.to_pylist()
    assert (found[0]["a_uri"], found[0]["b_uri"]) == (f"{tmp_path}/1.png", "s3://any/1.png")
    manifest = write_manifest(str(tmp_path), columns | {"b_uri": ["https://host/1.png"]}, "csv")
    with pytest.raises(UsageError, match=r"1: b_uri: 'https://host/1.png'.*--allow https://host$"):
        find(manifest)
    assert find(manifest, allow=("https://host/",)).pairs.num_rows == 1


def test_what_a_manifest_names_is_read_as_it_was_checked(tmp_path):
    columns = {
        "pair_id": ["1", "2"],
        "a_uri": ["FILE:///data/../1.png", "simplecache::s3://bucket/1.png"],
        "b_uri": ["S3://bucket/1.png", "local:///data/1.png"],
    }
    rows = find(write_manifest(str(tmp_path), columns, "csv")).pairs.to_pylist()
    assert [(row["a_uri"], row["b_uri"]) for row in rows] == [
        ("/1.png", "s3://bucket/1.png"),
        (f"{tmp_path}/simplecache::s3:/bucket/1.png", "/data/1.png"),
    ]


def test_code_in_a_manifest_is_not_executed(tmp_path):
    columns = {name: FULL[name] for name in ("pair_id", "a_uri", "b_uri", "prompt")}
    for hostile in ("prompt", "pair_id"):
        (tmp_path / "m.parquet").write_bytes(hostile_parquet(columns, hostile, tmp_path / "ran"))
        with pytest.raises(UsageError, match="manifest"):
            find(tmp_path / "m.parquet")
        assert not (tmp_path / "ran").exists()


def test_code_in_columns_that_do_not_matter_is_not_executed(tmp_path):
    columns = {"pair_id": ["1"], "a_uri": ["1.png"], "b_uri": ["2.png"], "camera": ["x"]}
    (tmp_path / "m.parquet").write_bytes(hostile_parquet(columns, "camera", tmp_path / "ran"))
    assert find(tmp_path / "m.parquet").pairs.num_rows == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize(
    ("changed", "settings", "said"),
    [
        ({}, {"max_pairs": 1}, "--max-pairs 1"),
        ({"pair_id": ["1", "é" * 513]}, {}, "--max-id 1024"),
        ({"pair_id": ["1", "12345"]}, {"max_id": 4}, "--max-id 4"),
        ({"prompt": ["é" * 2000, "é" * 2001]}, {}, "--max-prompt 2000"),
        ({"prompt": ["", "12345"]}, {"max_prompt": 4}, "--max-prompt 4"),
        ({"a_uri": ["1" * 4097, "2"]}, {}, "4096"),
    ],
)
def test_a_manifest_beyond_a_limit_is_refused_with_its_option(tmp_path, form, changed, settings, said):
    columns = {**FULL, "a_uri": ["1.png", "2.png"], **changed}
    manifest = write_manifest(str(tmp_path), columns, form)
    with pytest.raises(UsageError, match=said) as refused:
        find(manifest, **settings)
    assert str(refused.value).startswith(manifest)
    at_the_limit = {name: [str(value)[-2:] for value in values] for name, values in columns.items()}
    at_the_limit["task"] = columns["task"]
    assert find(write_manifest(str(tmp_path), at_the_limit, form), max_pairs=2, max_id=4, max_prompt=4).pairs.num_rows


def test_a_manifest_that_is_small_only_while_it_is_packed_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    rows = 1000
    columns = {"pair_id": [str(row) for row in range(rows)], "a_uri": ["1" * 4000] * rows, "b_uri": ["2" * 4000] * rows}
    monkeypatch.setattr(module, "MOST_TEXT", 2 << 20)
    for said, packing in (("3", {}), ("7", {"use_dictionary": False, "compression": "zstd"})):
        pq.write_table(pa.table(columns), tmp_path / "m.parquet", **packing)
        assert (tmp_path / "m.parquet").stat().st_size < 100_000
        with pytest.raises(UsageError, match=rf"{said} MiB.*\b2\b"):
            find(tmp_path / "m.parquet")
