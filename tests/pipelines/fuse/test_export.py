"""Images out of the rows of a destination, and the defaults that depend on where it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.defaults import complete
from pipelines.fuse.export import export
from pipelines.fuse.export_config import ExportConfig
from pipelines.fuse.job import Outcome, fuse
from pipelines.fuse.plan import plan_fuse
from tests.archives import make_pair
from upfusion.images import read_image

NAMES = ["FLIR_04484", "Night/street", "night/Street", "plain"]


def run(folder: Path, out: Path, **settings: Any) -> Outcome:
    for number, name in enumerate(NAMES):
        make_pair(folder, name, seed=number)
    (folder / "infrared" / "plain.png").write_text("no image")
    given = {"model": "mean", "metrics": "none", "no_tracking": True, "runner": "inline", **settings}
    return fuse(plan_fuse(FuseConfig(source=str(folder), out=str(out), **given)))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_have_the_names_of_their_pairs_and_come_out_of_rows_alike(tmp_path):
    as_files = run(tmp_path / "in", tmp_path / "files", images="files")
    inside = run(tmp_path / "in", tmp_path / "inside", images="parquet")
    images = files(tmp_path / "files" / "images")
    assert "FLIR_04484.png" in images
    # These two would be one file where a store ignores case.
    assert len({name.lower() for name in images}) == len(images) == 3
    assert not {"Night/street.png", "night/Street.png"} & set(images)
    assert as_files.first_image == f"{tmp_path}/files/images/FLIR_04484.png"
    assert inside.first_image is None
    assert [one.split(":")[0] for one in as_files.failures] == ["plain (not_an_image)"]

    for kept in ("files", "inside"):
        exported = export(ExportConfig(destination=str(tmp_path / kept), to=str(tmp_path / f"of {kept}")))
        assert (exported.count, exported.unreadable) == (3, [])
        assert files(tmp_path / f"of {kept}") == images


def test_images_are_converted_and_missing_ones_are_named(tmp_path):
    run(tmp_path / "in", tmp_path / "out", images="files")
    (tmp_path / "out" / "images" / "FLIR_04484.png").rename(tmp_path / "kept.png")
    config = ExportConfig(destination=str(tmp_path / "out"), to=str(tmp_path / "tiff"), format="tiff")
    (missing,) = export(config).unreadable
    assert missing.startswith("FLIR_04484")
    (tmp_path / "kept.png").rename(tmp_path / "out" / "images" / "FLIR_04484.png")
    assert export(config).count == 3
    pixels = [read_image(tmp_path / place) for place in ("tiff/FLIR_04484.tif", "out/images/FLIR_04484.png")]
    assert np.array_equal(*pixels)


def test_what_is_no_destination_is_refused(tmp_path):
    with pytest.raises(UsageError):
        export(ExportConfig(destination=str(tmp_path), to=str(tmp_path / "to")))


def test_other_settings_of_images_name_the_way_to_have_them(tmp_path):
    run(tmp_path / "in", tmp_path / "out", images="files")
    with pytest.raises(UsageError, match="upfusion export"):
        run(tmp_path / "in", tmp_path / "out", images="files", format="jpeg")


def test_defaults_depend_on_dest(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)

    def completed(out: object, **given: Any) -> FuseConfig:
        return complete(FuseConfig(source="in", out=str(out), **given))

    assert completed(tmp_path / "out").images == "files"
    assert completed("out").tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert completed(tmp_path / "out", images="parquet").images == "parquet"
    assert completed(tmp_path / "out", no_tracking=True).tracking_uri is None
    assert completed(tmp_path / "out", model="models:/x@y").tracking_uri is None
    (tmp_path / "mlflow.db").touch()
    assert completed(tmp_path / "out").tracking_uri is None
    run(tmp_path / "pairs", tmp_path / "made", images="both")
    assert completed(tmp_path / "made").images == "both"
