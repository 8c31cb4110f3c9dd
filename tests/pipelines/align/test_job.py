"""From an unregistered archive to its rig, and fused by it."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.align.config import AlignConfig
from pipelines.align.job import align
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.plan import plan_fuse
from tests.stages import run_stages
from tests.upfusion.registration.scenes import SIZE, planted, scene, search_one_turn, unregistered
from upfusion.registration.coordinates import distance
from upfusion.registration.rig import Rig

TRUTH = planted()


def write_pairs(folder: Path, pairs: list[tuple[np.ndarray, np.ndarray]]) -> Path:
    for number, pair in enumerate(pairs):
        for sensor, pixels in zip(("visible", "infrared"), pair, strict=True):
            (folder / sensor).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / sensor / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("archive"), unregistered(3, TRUTH))


@pytest.fixture(scope="module")
def rig_file(archive: Path) -> Path:
    file = archive.parent / "rig.json"
    align(AlignConfig(source=str(archive), out=str(file)))
    return file


def rows_of(source: Path, out: Path, **settings: object) -> list[dict[str, object]]:
    plan = plan_fuse(
        FuseConfig(source=str(source), out=str(out), no_tracking=True, metrics="vif", images="files", **settings)
    )
    run_stages(plan)
    return pq.read_table(out / "pairs").to_pylist()


def test_the_rig_of_an_archive(rig_file: Path) -> None:
    rig = Rig.from_json(rig_file.read_text())
    assert distance(TRUTH, rig.matrix, SIZE, SIZE) < 0.2
    assert rig.provenance["from"] == ["000", "001", "002"]


def test_its_page_shows_before_and_after_and_loads_nothing(rig_file: Path) -> None:
    page = rig_file.with_suffix(".html").read_text()
    assert page.count("Before: A") == page.count("After: edges") == 3
    assert "http" not in page.replace("http-equiv", "")


def test_fused_by_its_rig_and_without(archive: Path, rig_file: Path, tmp_path: Path) -> None:
    warped = rows_of(archive, tmp_path / "warped", rig=str(rig_file))
    plain = rows_of(archive, tmp_path / "plain")
    rig = Rig.from_json(rig_file.read_text())
    assert {row["rig"] for row in warped} == {rig.digest()}
    assert min(row["alignment"] for row in warped) > 0.9  # type: ignore[type-var]
    assert max(row["alignment"] for row in plain) < 0.45  # type: ignore[type-var]
    assert all(re.search(r"\bA\b.*\bB\b.* \d+ px\b", str(row["note"])) for row in plain)
    assert {row["rig"] for row in plain} == {None}
    assert warped[0]["width"] < plain[0]["width"]  # type: ignore[operator]


def test_auto_estimates_first_and_the_rig_belongs_to_the_result(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = {"source": str(archive), "out": str(out), "no_tracking": True}
    plan = plan_fuse(FuseConfig(rig="auto", **settings))
    assert plan.rigs is not None
    assert plan.run["result"]["rig"] == plan.rigs.digest()
    assert plan.run["result"]["canvas"] == "common"
    out.mkdir()
    (out / "rig.json").write_text(plan.rigs.to_json().replace('"pairs": 3', '"pairs": 4'))
    again = plan_fuse(FuseConfig(rig="auto", **settings))
    assert again.rigs is not None
    assert again.rigs.rigs[""].pairs == 4  # the one that is kept
    assert again.run["digest"] == plan.run["digest"] != plan_fuse(FuseConfig(**settings)).run["digest"]


def test_pairs_of_other_scenes_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_one_turn(monkeypatch)
    source = write_pairs(tmp_path / "in", [(scene(0)[0], scene(100)[1])])
    with pytest.raises(UsageError, match=r"\b0\.\d\d\b"):
        plan_fuse(FuseConfig(source=str(source), out=str(tmp_path / "out"), rig="auto", no_tracking=True))
    assert not (tmp_path / "out").exists()


def test_a_rig_for_each_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search_one_turn(monkeypatch)
    for camera in ("cam3", "cam7"):
        write_pairs(tmp_path / "in" / camera, unregistered(1, TRUTH if camera == "cam3" else np.eye(3), first=3))
    write_pairs(tmp_path / "in" / "cam9", [(scene(0)[0], scene(100)[1])])
    outcome = align(AlignConfig(source=str(tmp_path / "in"), out=str(tmp_path / "rigs.json"), per="1"))
    assert set(outcome.rigs.rigs) == {"cam3", "cam7"}
    assert set(outcome.refused) == {"cam9"}
    auto = plan_fuse(
        FuseConfig(source=str(tmp_path / "in"), out=str(tmp_path / "auto"), rig="auto", per="1", no_tracking=True)
    )
    assert auto.rigs is not None
    assert auto.rigs.to_json() == outcome.rigs.to_json()
    rows = rows_of(tmp_path / "in", tmp_path / "out", rig=str(tmp_path / "rigs.json"))
    codes = {row["pair_id"]: row["error_code"] for row in rows}
    assert codes == {"cam3/000": None, "cam7/000": None, "cam9/000": "rig_mismatch"}
    assert json.loads((tmp_path / "rigs.json").read_text())["per"] == "1"


def test_a_matrix_takes_the_sizes_of_the_first_pair(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "h.json").write_text(json.dumps(TRUTH.tolist()))
    plan = plan_fuse(
        FuseConfig(source=str(archive), out=str(tmp_path / "out"), rig=str(tmp_path / "h.json"), no_tracking=True)
    )
    assert plan.rigs is not None
    assert plan.rigs.rigs[""].a_size == SIZE


@pytest.mark.parametrize(("name", "text"), [("gone.json", None), ("h.json", "[[1, 0], [0, 1]]")])
def test_a_file_that_is_no_rig_is_named(archive: Path, tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    config = FuseConfig(source=str(archive), out=str(tmp_path / "out"), rig=str(tmp_path / name), no_tracking=True)
    with pytest.raises(UsageError, match=rf"--rig .*{name}"):
        plan_fuse(config)
