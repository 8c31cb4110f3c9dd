"""The sources in a report look as the network saw them."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.archive.allowlist import allow_all
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import plan_fuse
from pipelines.fuse.report.page import write_report
from pipelines.fuse.report.sources import FusedSources
from pipelines.fuse.report.triptych import draw_triptychs
from pipelines.storage.ownership import read_claim
from pipelines.storage.parquet import read_table
from tests.pipelines.thermal import write_rig, write_thermal
from tests.stages import run_stages
from upfusion.images import read_image, to_8_bits


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fused")
    source, rig = write_thermal(folder / "in"), write_rig(folder / "rig.json")
    settings = {"metrics": "none", "images": "files", "also": "b", "polarity_b": "black-hot", "no_tracking": True}
    run_stages(plan_fuse(FuseConfig(source=str(source), out=str(folder / "out"), rig=rig, **settings)))
    return folder / "out"


def shown(picture: dict[str, object]) -> np.ndarray:
    data = base64.b64decode(str(picture["src"]).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(float)


def sources_of(out: Path, **options: object) -> tuple[FusedSources, dict[str, object]]:
    run = read_claim(str(out))
    assert run is not None
    (file,) = Destination(str(out)).pair_files()
    return FusedSources(str(out), run, options.get("may_read", allow_all)), read_table(file).to_pylist()[0]  # type: ignore[arg-type]


def test_a_is_cropped_and_b_warped_stretched_and_inverted(out: Path) -> None:
    sources, row = sources_of(out)
    a, b = sources.pictures(row)
    assert a["size"] == b["size"] == (row["width"], row["height"])
    registered = to_8_bits(read_image(row["registered_uri"])).astype(float)
    assert np.abs(shown(b) - registered).mean() < 3  # JPEG
    (triptych,) = draw_triptychs(Destination(str(out)), 1)
    middle = np.asarray(triptych.convert("L")).astype(float)[:, row["width"] : 2 * row["width"]]
    np.testing.assert_allclose(middle, registered, atol=1)


def test_frames_are_shown_alike_and_one_alone_as_it_is_stored(out: Path) -> None:
    sources, row = sources_of(out)
    a, b = (read_image(row[side]) for side in ("a_uri", "b_uri"))
    shown_a, shown_b = sources.frames("cam", a, b)
    assert shown_a is not None
    np.testing.assert_array_equal(shown_b, read_image(row["registered_uri"]))
    assert sources.frames("cam", a, None) == (a, None)


def test_a_source_whose_partner_is_gone_keeps_its_range(out: Path) -> None:
    sources, row = sources_of(out)
    a, b = sources.pictures(row | {"a_uri": str(out / "gone.png")})
    assert "(FileNotFoundError)" in a["error"]
    assert shown(b).std() > 20  # its counts fill four of 255 grey levels by themselves


def test_without_its_rig_nothing_is_shown_as_if_it_had_been_fused_so(out: Path) -> None:
    run = read_claim(str(out))
    assert run is not None
    row = sources_of(out)[1]
    sources = FusedSources(str(out / "elsewhere"), run, allow_all)
    assert [set(picture) for picture in sources.pictures(row)] == [{"error", "uri"}] * 2
    assert sources.pair(row) is None


def test_the_report_shows_a_and_b_before_and_after_the_rig(out: Path) -> None:
    page = Path(write_report(str(out))).read_text()
    section = page[page.index('id="rig"') : page.index('id="metrics"')]
    assert "B 320x240 onto A 320x240" in section
    assert len(re.findall(r'alt="Checkerboard [^"]*\b000\b', section)) == 2
    sources, row = sources_of(out)
    boards = sources.boards_of(row)
    assert boards is not None
    assert boards["before"] != boards["after"]
    assert sources.boards_of(row | {"b_uri": str(out / "gone.png")}) is None
