"""A training run sees pairs as `upfusion fuse` prepares them: in their range, B warped by a rig."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipelines.storage.ownership import write_claim
from pipelines.train.config import TrainConfig
from pipelines.train.data import _check
from pipelines.train.disk_cache import ImageCache
from pipelines.train.folder import RunFolder
from pipelines.train.job import TrainPlan, plan_train
from pipelines.train.loader import LumaCache
from pipelines.train.prepared import PairReader
from tests.pipelines.thermal import row_of, write_rig, write_thermal
from upfusion.images import ImageError

LIMITS = {"max_bytes": 10**7, "max_pixels": 10**7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thermal")
    write_thermal(folder / "in", 2)
    write_rig(folder / "rig.json")
    return folder


def plan_of(folder: Path, out: Path, **settings: object) -> TrainPlan:
    told = {
        "data": (str(folder / "in"),),
        "out": str(out),
        "start": "tiny",
        "val_share": 0.0,
        "no_tracking": True,
        "range_b": "auto",
    }
    return plan_train(TrainConfig(**told | settings))


def sealed(source: Path) -> dict[str, object]:
    row = row_of(source)
    return row | {f"{side}_sha256": hashlib.sha256(row[f"{side}_file"]).hexdigest() for side in "ab"}


def test_pairs_are_stretched_and_warped(folder: Path, tmp_path: Path) -> None:
    rig = str(folder / "rig.json")
    plan = plan_of(folder, tmp_path / "run", rig=rig, polarity_b="black-hot")
    assert list(plan.run["ranges"]["b"]) == ["uint16"]
    assert plan.run["result"]["rig"]
    assert plan.run["digest"] != plan_of(folder, tmp_path / "run", polarity_b="black-hot").run["digest"]
    checked = _check(plan.found, 32, plan.sources.preparation, **LIMITS).to_pylist()
    assert [row["error_code"] for row in checked] == [None, None]
    reader = PairReader(ImageCache(0), plan.sources.preparation)
    a, b = reader.read(sealed(folder / "in"))
    assert a.shape == b.shape == (checked[0]["height"], checked[0]["width"]) < (240, 320)
    plain = PairReader(ImageCache(0), plan_of(folder, tmp_path / "run").sources.preparation)
    white_hot = plain.read(sealed(folder / "in"))[1]
    assert white_hot.shape == (240, 320)
    assert len(np.unique(b >> 8)) >= 200
    assert abs(65535 - float(b.mean()) - float(white_hot.mean())) < 6000
    lumas = LumaCache(reader, 1.0).read(sealed(folder / "in"))
    np.testing.assert_allclose(lumas[1], b / 65535, atol=1e-3)


def test_a_run_resumes_with_its_ranges_and_one_of_an_earlier_version_on_full_scales(
    folder: Path, tmp_path: Path
) -> None:
    plan = plan_of(folder, tmp_path / "run")
    run = RunFolder(str(tmp_path / "run"))
    ranges = {"a": {}, "b": {"uint16": "21000:24000"}}
    write_claim(run.uri, plan.run | {"ranges": ranges})
    assert plan_of(folder, tmp_path / "run").sources.ranges == ranges
    write_claim(run.uri, {name: value for name, value in plan.run.items() if name != "ranges"})
    assert plan_of(folder, tmp_path / "run").sources.ranges["b"]["uint16"] is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    source = write_thermal(tmp_path / "in")
    file = source / "infrared" / "000.png"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ImageError, match=r"infrared/000\.png"):
        PairReader(ImageCache(0)).read(sealed(source))


def test_every_root_has_a_range_of_its_own(folder: Path, tmp_path: Path) -> None:
    roots = (str(folder / "in"), str(write_thermal(tmp_path / "warm", warmer=9000)))
    plan = plan_of(folder, tmp_path / "run", data=roots)
    checked = _check(plan.found, 32, plan.sources.preparation, **LIMITS).to_pylist()
    assert [row["error_code"] for row in checked] == [None] * 3
    ranges = plan.sources.ranges["b"]
    assert set(ranges) == {"in/uint16", "warm/uint16"}
    options = plan.sources.preparation.options
    assert options.of("warm/000").b.ranges.keys() == {"uint16"}
    assert str(options.of("warm/000").b.ranges["uint16"]) == ranges["warm/uint16"] != ranges["in/uint16"]
