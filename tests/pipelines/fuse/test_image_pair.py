"""Two image files fused into a third."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.image_pair import fuse_image_pair
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import plan_fuse
from tests.archives import make_pair
from upfusion.images import read_image


@pytest.fixture
def sources(tmp_path: Path) -> tuple[str, str]:
    make_pair(tmp_path, "street", size=(64, 48))
    return str(tmp_path / "visible" / "street.png"), str(tmp_path / "infrared" / "street.png")


def config(sources: tuple[str, str], **given: object) -> FuseConfig:
    return FuseConfig.model_validate({"source": sources[0], "source_b": sources[1], **given})


def test_the_image_is_the_one_that_a_job_makes(tmp_path, sources):
    single = fuse_image_pair(config(sources, out=str(tmp_path / "one" / "fused.png"), metrics="vif,ssim"))
    job = fuse(plan_fuse(config(sources, out=str(tmp_path / "job"), images="files", no_tracking=True, runner="inline")))
    (row,) = Destination(job.destination.uri).read_columns(["fused_uri", "pair_id", "vif", "ssim"]).to_pylist()
    assert row["pair_id"] == "street"
    assert Path(single.uri).read_bytes() == Path(row["fused_uri"]).read_bytes()
    assert [single.row[name] for name in ("vif", "ssim")] == [row["vif"], row["ssim"]]


@pytest.mark.parametrize(
    ("out", "form"), [("x.jpg", "jpeg"), ("x.JPEG", "jpeg"), ("x.webp", "webp"), ("x.tiff", "tiff")]
)
def test_the_extension_is_the_format(tmp_path, sources, out, form):
    asked = config(sources, out=str(tmp_path / out))
    assert (asked.is_image_pair, asked.format, asked.metrics, asked.no_tracking) == (True, form, (), True)


def test_an_extension_gives_that_kind_of_file(tmp_path, sources):
    fused = fuse_image_pair(config(sources, out=str(tmp_path / "x.jpg")))
    assert Path(fused.uri).read_bytes()[:3] == b"\xff\xd8\xff"
    assert (fused.row["width"], fused.row["height"]) == (64, 48)


def test_two_images_need_no_out_and_a_folder_is_a_job(sources):
    assert config(sources).out == "fused.png"
    assert config(sources, format="webp").out == "fused.webp"
    assert not config(sources, out="folder").is_image_pair


@pytest.mark.parametrize(
    "given",
    [
        {"out": "x.png", "format": "jpeg"},
        {"out": "x.png", "source_b": "folder"},
        {"out": "x", "a": "*.png", "b": "*.jpg"},
        {"source_b": "folder"},
    ],
)
def test_contradictions_are_refused(sources, given):
    with pytest.raises(ValueError, match=r"--out|SOURCE_B|out"):
        config(sources, **given)


def test_a_source_is_not_overwritten(sources):
    before = Path(sources[1]).read_bytes()
    with pytest.raises(UsageError):
        fuse_image_pair(config(sources, out=sources[1]))
    assert Path(sources[1]).read_bytes() == before


def test_a_damaged_source_is_reported_and_nothing_is_written(tmp_path, sources):
    Path(sources[1]).write_text("no image")
    fused = fuse_image_pair(config(sources, out=str(tmp_path / "fused.png")))
    assert fused.row["error_code"] == "not_an_image"
    assert not Path(fused.uri).exists()


def test_from_the_command_line_without_ray_or_mlflow(tmp_path, sources):
    program = (
        "import sys\nfrom jobs.command_line import main\n"
        "try: main(sys.argv[1:])\nfinally: print({'ray', 'mlflow'} & set(sys.modules), file=sys.stderr)"
    )
    out = tmp_path / "fused.png"
    words = [sys.executable, "-c", program, "fuse", *sources, "-o", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == [str(out), "64x48"]
    assert done.stderr == "set()\n"
    fused = read_image(out)
    assert fused.shape == (48, 64, 3)
    assert np.any(fused != read_image(sources[0]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fused.png", "infrared", "visible"]
