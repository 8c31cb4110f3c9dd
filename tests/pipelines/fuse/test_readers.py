"""A job's output as its users read it: Hugging Face datasets, DuckDB, WebDataset, Iceberg and Delta."""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.export import Exported, export
from pipelines.fuse.export_config import ExportConfig
from pipelines.fuse.export_tars import key_of, write_tars
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import plan_fuse
from pipelines.fuse.rows import open_rows
from tests.archives import make_archive

PAIRS = 5


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    make_archive(folder, PAIRS, size=(24, 16))
    (folder / "infrared" / "street_003.png").write_text("no image")
    return folder


def run(archive: Path, out: Path, **settings: Any) -> Path:
    given = {"metrics": ("en",), "no_tracking": True, "runner": "inline", "images": "both", **settings}
    fuse(plan_fuse(FuseConfig(source=str(archive), out=str(out), **given)))
    return out


@pytest.fixture(scope="module")
def finished(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(archive, tmp_path_factory.mktemp("fused"))


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A finished job that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def without_features(out: Path) -> None:
    """Make the files of rows as versions before wrote them: without the features of Hugging Face."""
    for file in (out / "pairs").glob("*.parquet"):
        pq.write_table(pq.read_table(file).replace_schema_metadata(None), file)


def test_datasets_show_images_without_code(out, tmp_path):
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    rows = datasets.load_dataset("parquet", data_files=f"{out}/pairs/*.parquet", cache_dir=str(tmp_path / "cache"))
    fused = {row["pair_id"]: row["fused"] for row in rows["train"]}
    assert fused.pop("street_003") is None
    for pair_id, image in fused.items():
        assert image.tobytes() == Image.open(out / "images" / f"{pair_id}.png").tobytes()


def test_rows_of_versions_with_and_without_features_are_one_table(out, archive, tmp_path):
    without_features(out)
    older = pq.read_schema(next((out / "pairs").glob("*.parquet"))).metadata
    assert older is None or b"huggingface" not in older
    shutil.copy(archive / "infrared" / "street_002.png", archive / "infrared" / "street_003.png")
    try:
        run(archive, out, retry_failed=True)
    finally:
        (archive / "infrared" / "street_003.png").write_text("no image")
    assert any(b"huggingface" in (pq.read_schema(file).metadata or {}) for file in (out / "pairs").glob("*.parquet"))
    assert open_rows(str(out)).to_table(columns=["pair_id", "fused"]).num_rows == PAIRS
    counted = duckdb.sql(f"select count(*), count(fused.bytes), count(en) from '{out}/pairs/*.parquet'").fetchall()
    assert counted[0] == (PAIRS, PAIRS, PAIRS)
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    files = f"{out}/pairs/*.parquet"
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert sorted(rows["pair_id"]) == [f"street_{number:03d}" for number in range(PAIRS)]


def test_a_row_that_is_kept_while_others_are_removed_still_is_an_image(out, archive):
    run(archive, out, retry_failed=True)
    for file in (out / "pairs").glob("*.parquet"):
        assert b"huggingface" in pq.read_schema(file).metadata


def test_a_job_on_rows_of_images_resumes(archive, tmp_path):
    """A data set as on Hugging Face, fused by a job that was stopped, and its result fused again."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    files = {side: sorted((archive / side).iterdir()) for side in ("visible", "infrared")}
    columns = {
        side: pa.array([{"bytes": file.read_bytes(), "path": file.name} for file in files[side]], image)
        for side in files
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    out = run(tmp_path / "x.parquet", tmp_path / "out", limit=2)
    run(tmp_path / "x.parquet", out)
    found = open_rows(str(out)).to_table().sort_by("pair_id").to_pylist()
    assert [(row["pair_id"], row["status"]) for row in found] == [
        (f"{n:07d}", "failed" if n == 3 else "ok") for n in range(PAIRS)
    ]
    assert found[3]["error_code"] == "not_an_image"
    assert not any(path.stat().st_size > 20_000 for path in (out / "manifest.parquet", out / "run.json"))
    assert Image.open(io.BytesIO(found[0]["fused"]["bytes"])).size == (24, 16)
    assert "data:image" in (out / "report.html").read_text()


def take_out(out: Path, to: object, **options: Any) -> Exported:
    return export(ExportConfig(destination=str(out), to=str(to), **options))


# webdataset 1.0 leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_tars_are_read_by_webdataset(out, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    exported = take_out(out, tmp_path / "tars", layout="tars")
    assert (exported.count, exported.unreadable, exported.first) == (PAIRS - 1, [], f"{tmp_path}/tars/000000.tar")
    samples = list(webdataset.WebDataset(f"{tmp_path}/tars/000000.tar", shardshuffle=False))
    for sample in samples:
        about = json.loads(sample["json"])
        assert about["pair_id"] == sample["__key__"]
        assert isinstance(about["en"], float)
        assert sample["fused.png"] == (out / "images" / f"{about['pair_id']}.png").read_bytes()
    assert len(samples) == PAIRS - 1
    whole = (tmp_path / "tars" / "000000.tar").read_bytes()
    take_out(out, tmp_path / "tars", layout="tars")
    assert (tmp_path / "tars" / "000000.tar").read_bytes() == whole


def test_tars_are_bounded_and_keys_have_no_dots(tmp_path):
    images = [({"pair_id": f"a.b/{n}.x"}, f"a.b/{n}.x.png", bytes(1000)) for n in range(5)]
    count, tars = write_tars(images, str(tmp_path), 2 * (4 * 512 + 1000 + 26), lambda _: None)
    assert (count, [Path(tar).name for tar in tars]) == (5, ["000000.tar", "000001.tar", "000002.tar"])
    names = []
    for tar in tars:
        with tarfile.open(tar) as opened:
            names += opened.getnames()
    keys = [key_of(name) for _, name, _ in images]
    assert names == [f"{key}.{extension}" for key in keys for extension in ("fused.png", "json")]
    assert not any("." in key.rpartition("/")[2] for key in keys)
    assert len(set(keys)) == 5


def test_a_delta_table_follows_the_job(out, archive, tmp_path):
    deltalake = pytest.importorskip("deltalake", reason="deltalake is not installed")
    first = take_out(out, tmp_path / "table", layout="delta")
    again = take_out(out, tmp_path / "table", layout="delta")
    assert [(one.count, one.unchanged) for one in (first, again)] == [(PAIRS, False), (PAIRS, True)]
    run(archive, out, retry_failed=True)  # its row is written anew
    assert not take_out(out, tmp_path / "table", layout="delta").unchanged
    table = deltalake.DeltaTable(str(tmp_path / "table"))
    assert table.version() == 1
    check_rows(pa.table(table.to_pyarrow_dataset().to_table()))


def test_an_iceberg_table_follows_the_job(out, archive, tmp_path, monkeypatch):
    catalogs = pytest.importorskip("pyiceberg.catalog", reason="pyiceberg is not installed")
    from pyiceberg.utils.config import Config

    for name, value in {
        "TYPE": "sql",
        "URI": f"sqlite:///{tmp_path}/c.db",
        "WAREHOUSE": f"file://{tmp_path}/w",
    }.items():
        monkeypatch.setenv(f"PYICEBERG_CATALOG__LAKE__{name}", value)
    monkeypatch.setattr(catalogs, "_ENV_CONFIG", Config())  # read once, on import
    first = take_out(out, "lake.fused.streets", layout="iceberg")
    again = take_out(out, "lake.fused.streets", layout="iceberg")
    assert [(one.count, one.unchanged) for one in (first, again)] == [(PAIRS, False), (PAIRS, True)]
    run(archive, out, retry_failed=True)
    assert not take_out(out, "lake.fused.streets", layout="iceberg").unchanged
    check_rows(catalogs.load_catalog("lake").load_table("fused.streets").scan().to_arrow())
    with pytest.raises(UsageError):
        take_out(out, "streets", layout="iceberg")


def check_rows(table: pa.Table) -> None:
    rows = table.sort_by("pair_id").to_pylist()
    assert [row["pair_id"] for row in rows] == [f"street_{number:03d}" for number in range(PAIRS)]
    assert [row["status"] for row in rows].count("ok") == PAIRS - 1
    assert "fused" not in table.column_names
    assert all(isinstance(row["en"], float) for row in rows if row["status"] == "ok")
