"""Encoding and putting fused images and their rows."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.archive.rows import pack_image
from pipelines.errors.failures import STORE_LOST
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.schemas import WRITTEN, fused_schema, output_schema
from pipelines.fuse.writer import Writer
from pipelines.storage import objects as storage
from pipelines.storage.schema_version import SCHEMA_VERSION
from tests.pipelines.blocks import noise
from upfusion.images import decode_image
from upfusion.metrics import METRICS_VERSION


def fused(**images: np.ndarray | None) -> pa.Table:
    """A block of fused pairs; None is one that failed before."""
    rows = []
    for pair_id, image in images.items():
        row = {"pair_id": pair_id, "a_uri": "a", "b_uri": "b", "task": "ir_visible", "note": "noted", "fuse_ms": 3.0}
        if image is None:
            row |= {"error_code": "size_mismatch", "error": "sizes differ"}
        else:
            row |= {"fused": pack_image(image), "vif": 0.5, "metrics_version": METRICS_VERSION}
        rows.append(row)
    return pa.Table.from_pylist(rows, fused_schema(("vif",)))


def writer(out: object, **options: Any) -> Writer:
    return Writer(FuseConfig(source="in", out=str(out), metrics=("vif",), **options), "tiny")


def rows_of(out: object) -> dict[str, dict[str, Any]]:
    destination = Destination(str(out))
    rows = [row for uri in destination.pair_files() for row in read(uri).to_pylist()]
    assert len({row["pair_id"] for row in rows}) == len(rows)
    return {row["pair_id"]: row for row in rows}


def read(uri: str) -> pa.Table:
    return pq.read_table(io.BytesIO(storage.read_bytes(uri)))


def test_a_block_becomes_rows_that_say_everything_of_a_pair(place):
    written = writer(f"{place}/out", prompt="warm")(fused(x=noise(6, 8, 3), y=None))
    assert written.schema == WRITTEN
    assert written.to_pylist() == [
        {"pair_id": "x", "error_code": None, "stopped": None},
        {"pair_id": "y", "error_code": "size_mismatch", "stopped": None},
    ]
    (uri,) = Destination(f"{place}/out").pair_files()
    assert read(uri).schema.equals(output_schema(("vif",)))
    rows = rows_of(f"{place}/out")
    ok, failed = rows["x"], rows["y"]
    assert (ok["status"], ok["error_code"], ok["error"]) == ("ok", None, None)
    assert (ok["width"], ok["height"], ok["model"], ok["prompt"]) == (8, 6, "tiny", "warm")
    assert (ok["vif"], ok["metrics_version"], ok["note"], ok["fuse_ms"]) == (0.5, METRICS_VERSION, "noted", 3.0)
    assert ok["encode_ms"] > 0
    assert {row["schema_version"] for row in rows.values()} == {SCHEMA_VERSION}
    assert (failed["status"], failed["error_code"], failed["error"]) == ("failed", "size_mismatch", "sizes differ")
    assert all(failed[name] is None for name in ("fused", "fused_uri", "width", "vif", "model", "metrics_version"))


def test_a_prompt_of_the_row_wins_over_that_of_the_job(tmp_path):
    table = fused(x=noise(6, 8))
    table = table.set_column(table.column_names.index("prompt"), "prompt", pa.array(["of the row"]))
    writer(tmp_path, prompt="of the job")(table)
    assert rows_of(tmp_path)["x"]["prompt"] == "of the row"


@pytest.mark.parametrize(("form", "suffix"), [("png", ".png"), ("jpeg", ".jpg"), ("webp", ".webp")])
@pytest.mark.parametrize("images", ["parquet", "files", "both"])
def test_images_are_kept_where_and_how_they_were_asked_for(tmp_path, images, form, suffix):
    shapes = {"grey": (6, 8), "night/colour": (9, 7, 3)}
    writer(tmp_path, images=images, format=form)(fused(**{name: noise(*shape) for name, shape in shapes.items()}))
    files = {str(path.relative_to(tmp_path / "images")) for path in (tmp_path / "images").rglob("*") if path.is_file()}
    assert files == (set() if images == "parquet" else {f"{name}{suffix}" for name in shapes})
    for name, row in rows_of(tmp_path).items():
        in_file, in_row = None, row["fused"]["bytes"]
        if images == "parquet":
            assert (row["fused_uri"], row["fused"]["path"]) == (None, f"{name}{suffix}")
        else:
            assert row["fused_uri"] == f"{tmp_path}/images/{name}{suffix}"
            in_file = Path(row["fused_uri"]).read_bytes()
        if images == "files":
            # Readers of such a struct open the path where there are no bytes.
            assert (in_row, row["fused"]["path"]) == (None, row["fused_uri"])
        if images == "both":
            assert in_row == in_file
        with Image.open(io.BytesIO(in_row or in_file)) as image:
            assert (image.format.lower(), image.size) == (form, shapes[name][1::-1])


def test_png_keeps_every_bit(tmp_path):
    pixels = {"8": noise(6, 8, 3), "16": noise(6, 8, dtype=np.uint16), "16c": noise(6, 8, 3, dtype=np.uint16)}
    writer(tmp_path)(fused(**pixels))
    for name, row in rows_of(tmp_path).items():
        np.testing.assert_array_equal(decode_image(row["fused"]["bytes"]).pixels, pixels[name])


def test_files_are_put_before_the_rows_that_name_them(tmp_path, monkeypatch):
    put = []
    write = storage.write_bytes
    monkeypatch.setattr(storage, "write_bytes", lambda uri, data, **how: (put.append(uri), write(uri, data, **how)))
    writer(tmp_path, images="files")(fused(x=noise(6, 8), y=noise(6, 8)))
    assert put[:2] == [f"{tmp_path}/images/x.png", f"{tmp_path}/images/y.png"]
    assert put[2].startswith(f"{tmp_path}/pairs/")
    assert len(put) == 3


def refusing(monkeypatch: pytest.MonkeyPatch, end: str, error: int, said: str = "no") -> list[str]:
    """Let every write to a name with this end fail; returns the places that were tried."""
    write, tried = storage.write_bytes, list[str]()

    def write_or_refuse(uri: str, data: bytes, **how: bool) -> None:
        tried.append(uri)
        if uri.endswith(end):
            raise OSError(error, said, uri)
        write(uri, data, **how)

    monkeypatch.setattr(storage, "write_bytes", write_or_refuse)
    return tried


def test_an_image_whose_name_the_store_cannot_hold_fails_its_own_pair(tmp_path, monkeypatch, secret):
    refusing(monkeypatch, "/y.png", errno.ENAMETOOLONG, f"too long for {secret}")
    written = writer(tmp_path, images="both")(fused(x=noise(6, 8), y=noise(6, 8)))
    assert written["error_code"].to_pylist() == [None, "write_failed"]
    assert written["stopped"].to_pylist() == [None, None]
    row = rows_of(tmp_path)["y"]
    assert (row["status"], row["error_code"], row["fused"], row["fused_uri"]) == ("failed", "write_failed", None, None)
    assert f"{tmp_path}/images/y.png" in row["error"]
    assert "too long for ***" in row["error"]
    assert rows_of(tmp_path)["x"]["status"] == "ok"


def test_a_store_that_takes_no_images_is_no_pairs_failure(tmp_path, monkeypatch, secret):
    tried = refusing(monkeypatch, ".png", errno.ENOSPC, f"quota of {secret} exceeded")
    written = writer(tmp_path, images="both")(fused(x=noise(6, 8), y=noise(6, 8), z=None))
    sentence = f"{tmp_path} cannot be written: [Errno 28] quota of *** exceeded: '{tmp_path}/images/x.png'"
    assert written["stopped"].to_pylist() == [sentence] * 3
    assert rows_of(tmp_path) == {}
    assert tried == [f"{tmp_path}/images/x.png"]


def test_a_source_that_no_pair_can_be_read_from_leaves_no_rows(tmp_path):
    table = fused(x=None)
    lost = {"error_code": STORE_LOST, "error": "s3://b/x cannot be read: credentials"}
    table = pa.Table.from_pylist([table.to_pylist()[0] | lost], table.schema)
    assert writer(tmp_path)(table)["stopped"].to_pylist() == ["s3://b/x cannot be read: credentials"]
    assert rows_of(tmp_path) == {}


def test_an_image_that_its_format_cannot_hold_fails_its_own_pair(tmp_path):
    writer(tmp_path, format="webp")(fused(long=noise(1, 16384), x=noise(6, 8)))
    rows = rows_of(tmp_path)
    assert (rows["long"]["error_code"], rows["long"]["fused"]) == ("write_failed", None)
    assert "16384x1" in rows["long"]["error"]
    assert rows["x"]["status"] == "ok"


def test_rows_that_cannot_be_put_are_no_pairs_failure(tmp_path, monkeypatch):
    refusing(monkeypatch, ".parquet", errno.ENOSPC, "No space left")
    written = writer(tmp_path)(fused(x=noise(6, 8), y=None))
    assert all("No space left" in sentence for sentence in written["stopped"].to_pylist())
    assert rows_of(tmp_path) == {}


def test_writing_a_block_again_changes_nothing(place):
    for _ in range(2):
        writer(f"{place}/out", images="both")(fused(x=noise(6, 8), y=None))
    assert len(storage.list_files(f"{place}/out")) == 2
    assert list(rows_of(f"{place}/out")) == ["x", "y"]


def test_a_relative_destination_is_the_drivers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_here = writer("out", images="both")
    (tmp_path / "worker").mkdir()
    monkeypatch.chdir(tmp_path / "worker")
    made_here(fused(x=noise(6, 8)))
    assert rows_of(tmp_path / "out")["x"]["fused_uri"] == f"{tmp_path}/out/images/x.png"
    assert list((tmp_path / "worker").iterdir()) == []


def test_a_link_below_the_images_is_not_followed_out_of_them(tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / "images").mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "x.png").write_bytes(b"theirs")
    (out / "images" / "night").symlink_to(elsewhere)
    (out / "images" / "y.png").symlink_to(elsewhere / "x.png")
    writer(out, images="files")(fused(**{"night/x": noise(6, 8), "night/deep/x": noise(6, 8), "y": noise(6, 8)}))
    rows = rows_of(out)
    for name in ("night/x", "night/deep/x"):
        assert rows[name]["error_code"] == "write_failed"
        assert f"{out}/images" in rows[name]["error"]
    # A link in place of the file itself is replaced.
    assert rows["y"]["status"] == "ok"
    assert not (out / "images" / "y.png").is_symlink()
    assert [(path.name, path.read_bytes()) for path in elsewhere.iterdir()] == [("x.png", b"theirs")]


@pytest.mark.parametrize("linked", ["out", "out/images"])
def test_a_destination_that_is_a_link_itself_is_used(tmp_path, linked):
    (tmp_path / "real").mkdir()
    (tmp_path / linked).parent.mkdir(exist_ok=True)
    (tmp_path / linked).symlink_to(tmp_path / "real")
    writer(tmp_path / "out", images="files")(fused(**{"night/x": noise(6, 8)}))
    assert rows_of(tmp_path / "out")["night/x"]["status"] == "ok"
    assert len(list((tmp_path / "real").rglob("x.png"))) == 1


def test_images_are_flushed_to_the_disk_before_the_rows_that_name_them(tmp_path, monkeypatch):
    flushed, fsync = list[str](), os.fsync

    def record(file: int) -> None:
        flushed.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        fsync(file)

    monkeypatch.setattr(os, "fsync", record)
    writer(tmp_path, images="files")(fused(x=noise(6, 8, 3), **{"sub/y": noise(6, 8)}))
    (rows,) = Destination(str(tmp_path)).pair_files()
    images, folders = {f"{tmp_path}/images/{name}.png" for name in ("x", "sub/y")}, {"images", "images/sub"}
    assert set(flushed[:2]) == images
    assert set(flushed[2:4]) == {f"{tmp_path}/{name}" for name in folders}
    # The rows' file has another name until it is flushed.
    part, folder = flushed[4:]
    assert part.startswith(f"{tmp_path}/pairs/.")
    assert part != rows
    assert folder == f"{tmp_path}/pairs"
