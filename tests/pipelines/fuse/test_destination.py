import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.destination import Destination, as_job_manifest
from pipelines.fuse.schemas import JOB_MANIFEST, output_schema
from pipelines.storage import objects as storage
from pipelines.storage import parquet as parquet_files
from pipelines.storage.ownership import digest_of
from pipelines.storage.schema_version import SCHEMA_VERSION

SCHEMA = output_schema(("vif",))


@pytest.fixture
def destination(place) -> Destination:
    return Destination(f"{place}/out")


def run_of(**result: Any) -> dict[str, Any]:
    return {"digest": digest_of(result), "result": result, "config": {"source": "é"}}


def manifest_of(*ids: str, folder: str = "/data", **columns: Any) -> pa.Table:
    rows = [
        {"pair_id": i, "a_uri": f"{folder}/vi/{i}", "b_uri": f"{folder}/ir/{i}", "task": "ir_visible", **columns}
        for i in ids
    ]
    return pa.Table.from_pylist(rows, MANIFEST_SCHEMA)


def rows_of(**statuses: str) -> pa.Table:
    rows = [
        {
            "pair_id": pair_id,
            "a_uri": "a",
            "b_uri": "b",
            "task": "ir_visible",
            "status": status,
            "fused": {"bytes": pair_id.encode() * 9, "path": pair_id} if status == "ok" else None,
        }
        for pair_id, status in statuses.items()
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def statuses_of(destination: Destination) -> list[tuple[str, str]]:
    rows = destination.read_columns(["pair_id", "status"]).to_pylist()
    return sorted((row["pair_id"], row["status"]) for row in rows)


def files_of(destination: Destination) -> dict[str, list[tuple[str, bool]]]:
    finished = destination.finished()
    files = finished.by_file(pa.chunked_array([[True] * finished.rows.num_rows]))
    return {uri: [(row["pair_id"], row["ok"]) for row in rows.to_pylist()] for uri, rows in files}


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


# run.json


def test_a_destination_is_claimed_once_and_again_by_the_same_settings(destination):
    destination.claim(run_of(model="m", format="png"))
    written = storage.read_bytes(destination.run_json)
    assert json.loads(written) == {"schema_version": SCHEMA_VERSION, **run_of(model="m", format="png")}
    destination.claim({**run_of(format="png", model="m"), "config": {"source": "elsewhere"}})
    assert storage.read_bytes(destination.run_json) == written


def test_other_settings_are_refused_by_name_and_value(destination):
    destination.claim(run_of(model="m", format="png", gone=1))
    written = storage.read_bytes(destination.run_json)
    with pytest.raises(UsageError, match="settings") as refused:
        destination.claim(run_of(model="m", format="jpeg", fresh=True))
    differences = r"format\b.*'png'.*'jpeg'.*; fresh\b.*None\b.*True\b.*; gone\b.*\b1\b.*None\b"
    assert re.search(differences, str(refused.value))
    assert "model" not in str(refused.value)
    assert storage.read_bytes(destination.run_json) == written


def test_rows_without_a_run_json_are_nobodys_and_refused(destination):
    destination.write_pairs(rows_of(x="ok"))
    with pytest.raises(UsageError, match=r"pairs/.*run\.json"):
        destination.claim(run_of(model="m"))
    assert not storage.exists(destination.run_json)


@pytest.mark.parametrize("text", ["", "not JSON", "[]", '{"name": "my-package"}'])
def test_another_programs_run_json_is_refused_by_name(destination, text):
    storage.write_bytes(destination.run_json, text.encode())
    with pytest.raises(UsageError, match=r"out/run\.json"):
        destination.claim(run_of(model="m"))


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, "2.0", None])
def test_what_a_later_version_began_is_refused(destination, version):
    storage.write_bytes(destination.run_json, json.dumps(run_of(model="m") | {"schema_version": version}).encode())
    with pytest.raises(UsageError, match=rf"version .*{version}"):
        destination.claim(run_of(model="m"))


def test_a_destination_that_cannot_be_written_is_a_wrong_request(tmp_path, bucket):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=f"--out {tmp_path}/file"):
        Destination(str(tmp_path / "file")).claim(run_of(model="m"))
    missing = bucket + "-not"
    with pytest.raises(UsageError, match=rf"--out {missing}.*NoSuchBucket"):
        Destination(missing).claim(run_of(model="m"))


def test_a_relative_destination_is_that_of_the_folder_it_was_named_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    destination = Destination("out/")
    monkeypatch.chdir("/")
    destination.claim(run_of(model="m"))
    assert (tmp_path / "out" / "run.json").exists()


def test_the_digest_changes_with_every_setting_and_not_with_their_order():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert len({digest_of(settings) for settings in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": None})}) == 5


# manifest.parquet


def test_a_manifest_grows_and_stays_sorted(destination):
    assert destination.merge_manifest(manifest_of("b", "d"))["pair_id"].to_pylist() == ["b", "d"]
    assert destination.merge_manifest(manifest_of("a", "b", "c"))["pair_id"].to_pylist() == ["a", "b", "c", "d"]
    # Fewer pairs, as --limit gives them, take none away.
    whole = destination.merge_manifest(manifest_of("c"))
    assert whole.equals(as_job_manifest(manifest_of("a", "b", "c", "d")))
    assert pq.read_table(io.BytesIO(storage.read_bytes(destination.manifest))).equals(whole)
    assert whole.schema == JOB_MANIFEST


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"folder": "/other"}, "with a_uri '/data/vi/b', now '/other/vi/b'; b_uri '/data/ir/b', now '/other/ir/b'"),
        ({"task": "ct_mri"}, "with task 'ir_visible', now 'ct_mri'"),
        ({"prompt": "warm"}, "with prompt None, now 'warm'"),
    ],
)
def test_a_pair_that_became_another_one_is_refused(destination, changed, said):
    destination.merge_manifest(manifest_of("a", "b"))
    written = storage.read_bytes(destination.manifest)
    with pytest.raises(UsageError, match="'b'") as refused:
        destination.merge_manifest(manifest_of("b", "c", **changed))
    assert said in str(refused.value)
    assert storage.read_bytes(destination.manifest) == written


# pairs/


def test_an_empty_destination_has_finished_nothing(destination):
    finished = destination.finished()
    assert (finished.ok, finished.failed, finished.files, len(finished.ids)) == (0, 0, {}, 0)


def test_what_was_written_is_finished(destination):
    destination.write_pairs(rows_of(x="ok", y="failed"))
    destination.write_pairs(rows_of(z="ok"))
    finished = destination.finished()
    assert (finished.ok, finished.failed) == (2, 1)
    assert sorted(finished.ids.to_pylist()) == ["x", "y", "z"]
    assert sorted(map(sorted, files_of(destination).values())) == [[("x", True), ("y", False)], [("z", True)]]
    ((_, rows),) = finished.by_file(pc.invert(finished.rows["ok"]))
    assert rows["pair_id"].to_pylist() == ["x", "y"]
    assert statuses_of(destination) == [("x", "ok"), ("y", "failed"), ("z", "ok")]
    for uri in destination.pair_files():
        assert pq.read_schema(io.BytesIO(storage.read_bytes(uri))).equals(SCHEMA)


def test_the_same_pairs_are_written_to_the_same_object_whatever_their_order_and_outcome(destination):
    destination.write_pairs(rows_of(x="failed", y="ok"))
    destination.write_pairs(rows_of(y="ok", x="ok"))
    assert len(destination.pair_files()) == 1
    assert statuses_of(destination) == [("x", "ok"), ("y", "ok")]
    destination.write_pairs(rows_of(x="ok"))
    assert len(destination.pair_files()) == 2


def test_other_pairs_are_written_to_another_object_even_where_ids_hold_line_breaks(destination):
    destination.write_pairs(rows_of(x="ok", y="ok"))
    destination.write_pairs(rows_of(**{"x\ny": "ok"}))
    assert [pair_id for pair_id, _ in statuses_of(destination)] == ["x", "x\ny", "y"]


def test_large_images_are_spread_over_row_groups_that_can_be_read(destination, monkeypatch):
    """pyarrow refuses to read a row group whose images pass 2 GiB; here the bound is 16 bytes."""
    monkeypatch.setattr(parquet_files, "BYTES_A_GROUP", 16)
    destination.write_pairs(rows_of(x="ok", y="ok", z="ok"))
    (uri,) = destination.pair_files()
    assert pq.ParquetFile(io.BytesIO(storage.read_bytes(uri))).num_row_groups == 3
    assert statuses_of(destination) == [("x", "ok"), ("y", "ok"), ("z", "ok")]


def test_columns_are_read_of_all_files_or_of_some(destination):
    destination.write_pairs(rows_of(x="ok"))
    destination.write_pairs(rows_of(y="ok"))
    assert destination.read_columns(["task"]).to_pydict() == {"task": ["ir_visible"] * 2}
    (uri,) = [uri for uri, rows in files_of(destination).items() if ("y", True) in rows]
    assert destination.read_columns(["pair_id", "fused"], [uri]).to_pylist() == [
        {"pair_id": "y", "fused": {"bytes": b"y" * 9, "path": "y"}}
    ]


def test_failed_rows_are_removed_and_the_rest_stays_whole(destination):
    destination.write_pairs(rows_of(x="ok", y="failed"))
    destination.write_pairs(rows_of(z="failed"))
    destination.write_pairs(rows_of(w="ok"))
    before = {uri: storage.read_bytes(uri) for uri, rows in files_of(destination).items() if ("w", True) in rows}
    destination.remove_failed(destination.finished())
    finished = destination.finished()
    assert (set(finished.ids.to_pylist()), finished.failed, len(finished.files)) == ({"w", "x"}, 0, 2)
    images = destination.read_columns(["pair_id", "fused"]).to_pylist()
    assert {row["pair_id"]: row["fused"]["bytes"] for row in images} == {"x": b"x" * 9, "w": b"w" * 9}
    assert {uri: storage.read_bytes(uri) for uri in before} == before


@pytest.mark.parametrize(
    ("files", "left", "removed"),
    [
        # Which file comes first depends on the digest of its ids, so every case stands here both ways.
        ([{"x": "failed"}, {"x": "ok", "y": "ok"}], {"x": "ok", "y": "ok"}, 1),
        ([{"x": "ok"}, {"x": "failed", "y": "ok"}], {"x": "ok", "y": "ok"}, 1),
        ([{"x": "failed", "y": "ok"}, {"x": "ok", "z": "failed"}], {"x": "ok", "y": "ok", "z": "failed"}, 1),
        ([{"x": "ok", "y": "failed"}, {"x": "failed", "z": "ok"}], {"x": "ok", "y": "failed", "z": "ok"}, 1),
        ([{"x": "ok"}, {"x": "ok", "y": "ok"}, {"x": "ok", "z": "ok"}], {"x": "ok", "y": "ok", "z": "ok"}, 2),
        ([{"x": "failed"}, {"x": "failed", "y": "failed"}], {"x": "failed", "y": "failed"}, 1),
        ([{"x": "ok", "y": "failed"}, {"x": "failed", "y": "ok"}, {"y": "ok"}], {"x": "ok", "y": "ok"}, 3),
        ([{"x": "ok"}, {"y": "failed"}], {"x": "ok", "y": "failed"}, 0),
    ],
)
def test_of_repeated_rows_one_a_pair_stays_an_ok_one_where_there_is_one(destination, files, left, removed):
    for number, statuses in enumerate(files):
        # Not by write_pairs, which gives the same pairs the same name.
        storage.write_bytes(f"{destination.pairs}/{number}.parquet", parquet(rows_of(**statuses)))
    assert destination.remove_repeated(destination.finished()) == removed
    assert statuses_of(destination) == sorted(left.items())


def test_a_row_that_is_there_twice_in_one_file_is_left_once(destination):
    twice = pa.concat_tables([rows_of(x="failed"), rows_of(x="ok"), rows_of(x="ok"), rows_of(y="failed")] * 2)
    storage.write_bytes(f"{destination.pairs}/twice.parquet", parquet(twice))
    assert destination.remove_repeated(destination.finished()) == 6
    assert statuses_of(destination) == [("x", "ok"), ("y", "failed")]


def test_no_ok_row_is_lost_where_removing_is_cut_short(destination, monkeypatch):
    destination.write_pairs(rows_of(x="ok", y="failed"))
    finished = destination.finished()

    def out_of_space(uri: str, data: bytes) -> None:
        raise OSError(28, f"No space left for {len(data)} bytes", uri)

    monkeypatch.setattr(storage, "write_bytes", out_of_space)
    with pytest.raises(OSError, match="No space left"):
        destination.remove_failed(finished)
    assert destination.finished().ok == 1


# What others leave under pairs/


def test_leftovers_beside_the_rows_are_passed_over(destination):
    destination.write_pairs(rows_of(x="ok"))
    for name in (f".{'0' * 32}.part", "1.parquet.tmp", "_SUCCESS", "notes.txt", "_temporary/0/part-0.parquet"):
        storage.write_bytes(f"{destination.pairs}/{name}", b"PAR1")
    assert len(destination.pair_files()) == 1
    assert destination.finished().ids.to_pylist() == ["x"]
    assert statuses_of(destination) == [("x", "ok")]


WHOLE = parquet(rows_of(**{f"pair{number}": "ok" for number in range(50)}))
DAMAGED = {
    "nothing in it": b"",
    "text": b"<html>404</html>",
    "cut short": WHOLE[: len(WHOLE) // 2],
    "cut at the start": WHOLE[100:],
    "zeros inside": WHOLE[:4] + bytes(len(WHOLE) - 1000) + WHOLE[len(WHOLE) - 996 :],
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_of_rows_is_set_aside_and_its_pairs_count_as_not_done(destination, data):
    destination.write_pairs(rows_of(x="ok"))
    uri = f"{destination.pairs}/0123.parquet"
    storage.write_bytes(uri, data)
    finished = destination.finished()
    assert finished.ids.to_pylist() == ["x"]
    assert finished.damaged == (f"{destination.uri}/damaged/0123.parquet",)
    assert storage.read_bytes(finished.damaged[0]) == data
    assert uri not in destination.pair_files()
    assert destination.finished().damaged == ()
    assert statuses_of(destination) == [("x", "ok")]


def test_a_whole_parquet_file_of_another_writer_is_refused_by_name(destination):
    destination.write_pairs(rows_of(x="ok"))
    uri, data = f"{destination.pairs}/theirs.parquet", parquet(pa.table({"name": ["x"], "status": ["ok"]}))
    storage.write_bytes(uri, data)
    with pytest.raises(UsageError, match=re.escape(uri)):
        destination.finished()
    assert storage.read_bytes(uri) == data


def test_a_damaged_manifest_is_refused_by_name(destination):
    storage.write_bytes(destination.manifest, b"PAR1")
    with pytest.raises(UsageError, match=r"out/manifest\.parquet"):
        destination.merge_manifest(manifest_of("a"))


def test_a_file_that_goes_while_it_is_read_is_no_wrong_request(destination, monkeypatch):
    monkeypatch.setattr(Destination, "pair_files", lambda self: [f"{self.pairs}/gone.parquet"])
    with pytest.raises(FileNotFoundError):
        destination.finished()


# _SUCCESS.json


def test_success_is_readable_json(destination):
    destination.succeed({"pairs": 2, "unpaired_files": ["/data/vi/夜.png"]})
    assert json.loads(storage.read_bytes(destination.success)) == {"pairs": 2, "unpaired_files": ["/data/vi/夜.png"]}
    assert "夜" in storage.read_bytes(destination.success).decode()


def test_everything_lies_below_the_destination(destination, tmp_path):
    names = (destination.run_json, destination.manifest, destination.pairs, destination.images, destination.success)
    assert all(name.startswith(destination.uri + "/") for name in (*names, destination.report))
    assert Destination(f"file://{tmp_path}/out").run_json == str(Path(tmp_path, "out", "run.json"))


def test_a_recording_that_is_cut_at_last_gives_its_place_to_its_segments(destination):
    whole = {"recording": "cam"}
    rows = [row | whole for row in as_job_manifest(manifest_of("cam")).to_pylist()]
    destination.merge_manifest(pa.Table.from_pylist(rows, JOB_MANIFEST))
    segments = [row | whole | {"start_pts": 0} for row in as_job_manifest(manifest_of("cam/1", "cam/2")).to_pylist()]
    merged = destination.merge_manifest(pa.Table.from_pylist(segments, JOB_MANIFEST), outdated={"cam"})
    assert merged["pair_id"].to_pylist() == ["cam/1", "cam/2"]
    assert destination.read_manifest().equals(merged)
