"""Archives whose images lie inside other files: Parquet files as on Hugging Face, and tars as of WebDataset."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import discover
from pipelines.archive.image_columns import in_order_of_rows
from pipelines.archive.load import fetch, load_sources
from pipelines.archive.schema import Discovery
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from tests.archives import make_pair

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, bytes]]:
    """Five pairs, as bytes of A and B."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(5):
        make_pair(folder, str(number), size=(24, 16), seed=number)
    return [tuple((folder / s / f"{n}.png").read_bytes() for s in ("visible", "infrared")) for n in range(5)]


@pytest.fixture
def place(place) -> str:
    """An empty folder, or an empty prefix."""
    return f"{place}/archive"


def find(source: str, **settings: Any) -> Discovery:
    return discover(ArchiveConfig(source=source, **settings))


def fetched(found: Discovery) -> dict[str, tuple[bytes, bytes]]:
    rows = fetch(found.pairs)
    assert [row["error"] for row in rows] == [None] * len(rows)
    return {row["pair_id"]: (row["a_file"], row["b_file"]) for row in rows}


def write_rows(uri: str, columns: dict[str, Any], **options: Any) -> str:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    storage.write_bytes(uri, buffer.getvalue())
    return uri


def as_structs(values: list[bytes | None]) -> pa.Array:
    return pa.array([{"bytes": value, "path": f"{n}.png"} for n, value in enumerate(values)], IMAGE)


def write_tar(uri: str, members: dict[str, bytes]) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    storage.write_bytes(uri, buffer.getvalue())
    return uri


@pytest.mark.parametrize("kind", ["structs", "bytes"])
@pytest.mark.parametrize("rows_a_group", [2, 5])
def test_images_in_rows_are_pairs_by_the_names_of_their_columns(place, images, kind, rows_a_group):
    sides = [[pair[side] for pair in images] for side in (0, 1)]
    a, b = map(as_structs, sides) if kind == "structs" else sides
    uri = write_rows(f"{place}/train.parquet", {"label": [1] * 5, "ct": a, "mri": b}, row_group_size=rows_a_group)
    found = find(uri)
    assert set(found.pairs["task"].to_pylist()) == {"ct_mri"}
    assert fetched(found) == {f"{number:07d}": pair for number, pair in enumerate(images)}
    backwards = Discovery(found.pairs.take([4, 1, 3, 0, 2]))
    assert fetched(backwards) == fetched(found)
    assert in_order_of_rows(backwards.pairs)["pair_id"].to_pylist() == found.pairs["pair_id"].to_pylist()


def test_rows_keep_what_a_manifest_says_of_them_and_columns_can_be_chosen(place, images):
    a, b = (as_structs([pair[side] for pair in images]) for side in (0, 1))
    told = {"pair_id": list("edcba"), "task": ["nir_visible"] * 5, "balance": [None, 0.5, 0, 1, -1]}
    uri = write_rows(f"{place}/rows.parquet", told | {"cam 1": a, "cam/2": b, "rgb": a, "ir": a})
    found = find(uri, a="cam 1", b="cam/2")
    assert fetched(found) == dict(sorted(zip("edcba", images, strict=True)))
    assert found.pairs["balance"].to_pylist() == [-1, 1, 0, 0.5, None]
    assert set(found.pairs["task"].to_pylist()) == {"nir_visible"}
    with pytest.raises(UsageError, match="cam 3"):
        find(uri, a="cam 1", b="cam 3")


def test_two_columns_of_one_side_and_doubled_ids_are_refused(place, images):
    column = as_structs([pair[0] for pair in images])
    with pytest.raises(UsageError, match="'vis', 'rgb', 'ir'"):
        find(write_rows(f"{place}/1.parquet", {"vis": column, "rgb": column, "ir": column}))
    with pytest.raises(UsageError, match="a_uri"):
        find(write_rows(f"{place}/2.parquet", {"vis": column, "other": column}))
    with pytest.raises(UsageError, match="'x'"):
        find(write_rows(f"{place}/3.parquet", {"pair_id": ["x"] * 5, "vis": column, "ir": column}))


def test_a_folder_of_parquet_files_is_one_archive(place, images):
    for part in range(2):
        rows = images[2 * part : 2 * part + 2]
        sides = {name: as_structs([pair[side] for pair in rows]) for side, name in enumerate(("visible", "infrared"))}
        write_rows(f"{place}/data/train-{part}.parquet", sides)
    storage.write_bytes(f"{place}/README.md", b"a data set")
    names = [f"data/train-{part}/{row:07d}" for part in range(2) for row in range(2)]
    assert fetched(find(place)) == dict(zip(names, images, strict=False))
    with pytest.raises(UsageError, match="max-pairs"):
        find(place, max_pairs=3)


def test_what_is_wrong_with_one_row_fails_its_pair_alone(place, images):
    a = as_structs([images[0][0], None, b"", images[3][0], b"x" * 90_000])
    uri = write_rows(f"{place}/rows.parquet", {"vis": a, "ir": as_structs([pair[1] for pair in images])})
    (block,) = (pa.Table.from_batches([b for t in load_sources(find(uri).pairs, 50_000) for b in t.to_batches()]),)
    codes = dict(zip(block["pair_id"].to_pylist(), block["error_code"].to_pylist(), strict=True))
    assert list(codes.values()) == [None, "source_missing", "empty_file", None, "too_large"]


def test_a_file_that_is_replaced_is_read_anew(tmp_path, images):
    uri = f"{tmp_path}/rows.parquet"
    for first in (0, 1):
        sides = {name: as_structs([images[first][side]]) for side, name in enumerate(("vis", "ir"))}
        write_rows(uri, sides)
        assert list(fetched(find(uri)).values()) == [images[first]]


def test_a_large_value_repeated_by_a_dictionary_is_not_spread_out(tmp_path):
    big = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array([b"x" * 2_000_000]))
    uri = write_rows(f"{tmp_path}/rows.parquet", {"pair_id": [f"{n}" for n in range(5000)], "vis": big, "ir": big})
    assert Path(uri).stat().st_size < 5_000_000
    before = pa.total_allocated_bytes()
    (row, *_) = fetch(find(uri, limit=1).pairs, max_bytes=3_000_000)
    assert row["a_file"] == b"x" * 2_000_000
    assert pa.total_allocated_bytes() - before < 100_000_000


def test_the_members_of_webdataset_tars_are_pairs(place, images):
    for shard in range(2):
        members = {f"{shard}/{key}.{kind}": data for key, pair in enumerate(images) for kind, data in zip(
            ("VIS.png", "ir.png"), pair, strict=True)}  # fmt: skip
        write_tar(f"{place}/shard-{shard}.tar", members | {"0/0.json": b"{}", "alone.vis.png": b"x"})
    found = find(place)
    assert len(found.unpaired) == 2
    names = [f"shard-{shard}/{shard}/{key}" for shard in range(2) for key in range(5)]
    assert fetched(found) == dict(zip(names, images * 2, strict=True))
    assert fetched(find(f"{place}/shard-1.tar")) == {f"1/{key}": pair for key, pair in enumerate(images)}
    assert storage.read_head(found.pairs["a_uri"][0].as_py(), 8) == images[0][0][:8]


def test_a_tar_is_like_a_folder(place, images):
    write_tar(f"{place}/x.tar", {"./night/visible/1.png": images[0][0], "./night/infrared/1.png": images[0][1]})
    write_tar(f"{place}/y.tar", {"one.left.png": images[1][0], "one.right.png": images[1][1]})
    assert fetched(find(f"{place}/x.tar")) == {"night/1": images[0]}
    assert fetched(find(f"{place}/y.tar", a="*.left.png", b="*.right.png")) == {"one": images[1]}


def test_damaged_and_compressed_tars_are_refused(tmp_path, images):
    tar = Path(write_tar(f"{tmp_path}/x.tar", {"1.vis.png": images[0][0], "1.ir.png": images[0][1]}))
    whole = tar.read_bytes()
    found = find(str(tar))
    for broken in (b"", b"no tar" * 200, whole[:700], b"\x1f\x8b" + whole):
        tar.write_bytes(broken)
        with pytest.raises(UsageError, match=r"x\.tar"):
            find(str(tar))
    tar.write_bytes(whole[:700])
    rows = fetch(found.pairs)  # it was damaged after its headers had been read
    assert rows[0]["error_code"] == "source_unreadable"


def test_a_part_of_a_file_is_allowed_where_the_file_is(tmp_path, images):
    tar = write_tar(f"{tmp_path}/elsewhere/x.tar", {"1.vis.png": images[0][0], "1.ir.png": images[0][1]})
    (row,) = find(tar).pairs.to_pylist()
    manifest = tmp_path / "here" / "pairs.csv"
    manifest.parent.mkdir()
    manifest.write_text(f"pair_id,a_uri,b_uri\n1,../elsewhere/{row['a_uri'].rpartition('/')[2]},{row['b_uri']}\n")
    assert fetched(find(str(manifest))) == {"1": images[0]}
    manifest.write_text("pair_id,a_uri,b_uri\n1,s3://other/x.tar#bytes=512-600&name=..%2F1.png,../1.png\n")
    remote = "memory://bucket/pairs.csv"
    storage.write_bytes(remote, manifest.read_bytes())
    with pytest.raises(UsageError, match="outside"):
        find(remote)
