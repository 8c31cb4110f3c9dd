"""The pairs that a report shows: which, and their images."""

import base64
import dataclasses
import io
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.archive.allowlist import allow_all
from pipelines.fuse.report import page as report
from pipelines.fuse.report.page import write_report
from pipelines.fuse.report.sources import fused_picture

from .pages import Page, encoded, failed, grey, make_page, pair, shown, write_rows

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def blank_column(file, name):
    """Overwrite a column with zeros, so that whoever reads it fails."""
    group = pq.read_metadata(file).row_group(0)
    column = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == name)
    data = bytearray(file.read_bytes())
    start, size = column.dictionary_page_offset, column.total_compressed_size
    data[start : start + size] = bytes(size)
    file.write_bytes(data)


def picture(path):
    source = fused_picture({"fused": None, "fused_uri": str(path)}, allow_all)["src"]
    assert source.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))


def test_the_best_and_the_worst_pairs_are_shown_with_their_own_images(tmp_path):
    vif = [0.5, 0.1, None, 0.9, 0.7, 0.3, 0.6, 0.2, 0.8]
    rows = [
        pair(tmp_path, f"p{i}", vif=value, en=7.0, fused={"bytes": grey(20 * i), "path": None})
        for i, value in enumerate(vif)
    ]
    rows += [failed(tmp_path, "measured, then lost", "not_written", "The store is full.", vif=1.0)]
    page = make_page(tmp_path / "out", rows)
    assert shown(page) == {"Best by vif": ["p3", "p8", "p4"], "Worst by vif": ["p1", "p7", "p5"]}
    fused = {alt: image.getpixel((5, 5)) for alt, image in page.images() if alt.startswith("Fused")}
    assert list(fused) == [f"Fused image of pair p{i}" for i in (3, 8, 4, 1, 7, 5)]
    assert list(fused.values()) == [pytest.approx(20 * i, abs=1) for i in (3, 8, 4, 1, 7, 5)]


def test_a_few_pairs_are_shown_once(tmp_path):
    rows = [pair(tmp_path, f"p{i}", vif=i / 10) for i in range(3)]
    page = make_page(tmp_path / "out", rows)
    assert shown(page) == {"Best by vif": ["p2", "p1"], "Worst by vif": ["p0"]}


@pytest.mark.parametrize(
    ("higher_is_better", "expected"),
    [
        (False, {"Best by vif": ["low"], "Worst by vif": ["high"]}),
        (None, {"Highest by vif": ["high"], "Lowest by vif": ["low"]}),
    ],
)
def test_the_direction_of_the_metric_decides_which_is_best(tmp_path, monkeypatch, higher_is_better, expected):
    turned = dataclasses.replace(report.METRICS["vif"], higher_is_better=higher_is_better)
    monkeypatch.setattr(report, "METRICS", {**report.METRICS, "vif": turned})
    page = make_page(tmp_path / "out", [pair(tmp_path, "low", vif=0.1, en=7.0), pair(tmp_path, "high", vif=0.9)])
    assert shown(page) == expected


def test_without_vif_the_first_metric_ranks(tmp_path):
    rows = [pair(tmp_path, f"p{i}", en=float(i), sd=float(-i)) for i in range(2)]
    page = make_page(tmp_path / "out", rows, metrics=("sd", "en"))
    assert shown(page) == {"Best by en": ["p1"], "Worst by en": ["p0"]}


def test_the_balanced_form_ranks_the_pairs_where_it_was_measured(tmp_path):
    rows = [
        pair(tmp_path, "copy", vif=0.5, vif_balanced=0.05),
        pair(tmp_path, "both", vif=0.4, vif_balanced=0.4),
    ]
    page = make_page(tmp_path / "out", rows, metrics=("vif", "vif_balanced"))
    assert shown(page) == {"Best by vif_balanced": ["both"], "Worst by vif_balanced": ["copy"]}


@pytest.mark.parametrize("metrics", [(), ("vif",)])
def test_without_a_measured_value_the_first_pairs_are_shown(tmp_path, metrics):
    rows = [failed(tmp_path, "lost", "unreadable", "No image.")]
    rows += [pair(tmp_path, f"p{i}") for i in range(8)]
    page = make_page(tmp_path / "out", rows, metrics=metrics)
    assert shown(page) == {"The first pairs": [f"p{i}" for i in range(6)]}
    assert not page.all("figure", "chart")


def test_a_source_that_is_gone_is_a_labelled_box(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows = [
        pair(tmp_path, "gone", a_uri=str(tmp_path / "gone.png"), b_uri=str(tmp_path)),
        pair(tmp_path, "broken", a_uri=str(tmp_path / "broken.png"), b_uri="nonsense://b/key"),
    ]
    page = make_page(tmp_path / "out", rows)
    assert [alt for alt, _ in page.images()] == ["Fused image of pair gone", "Fused image of pair broken"]
    assert len(page.all("div", "missing")) == 4
    assert re.search(r"\bA\b[^.]*\(FileNotFoundError\)", page.text)
    assert re.search(r"\bB\b[^.]*\(IsADirectoryError\)", page.text)
    assert re.search(r"\bA\b[^.]*\(ImageError\)", page.text)
    assert re.search(r"\bB\b[^.]*\(ValueError\)", page.text)


def test_a_fused_image_comes_from_its_file_where_the_row_has_no_bytes(tmp_path):
    (tmp_path / "fused.png").write_bytes(grey(200, (30, 20)))
    rows = [
        pair(tmp_path, "file", fused={"bytes": None, "path": "f"}, fused_uri=str(tmp_path / "fused.png")),
        pair(tmp_path, "neither", fused=None),
    ]
    page = make_page(tmp_path / "out", rows)
    assert dict(page.images())["Fused image of pair file"].size == (30, 20)
    assert len(page.all("div", "missing")) == 1


def test_images_that_may_not_be_read_are_labelled_boxes(tmp_path):
    (tmp_path / "fused.png").write_bytes(grey(200))
    rows = [pair(tmp_path, "x", fused=None, fused_uri=str(tmp_path / "fused.png"))]
    write_rows(tmp_path / "out", rows)
    page = Page(Path(write_report(str(tmp_path / "out"), lambda uri: uri.endswith("/a.png"))).read_text())
    assert [alt for alt, _ in page.images()] == ["Source A of pair x"]
    for name in ("Source B", "Fused image"):
        assert name in page.text


def test_images_of_unshown_pairs_are_never_read(tmp_path):
    rows = [pair(tmp_path, f"p{i}", vif=i / 10) for i in range(8)]
    write_rows(tmp_path / "out", rows, rows_a_file=1)
    for i in (3, 4):
        blank_column(tmp_path / f"out/pairs/{i:05d}.parquet", "fused.bytes")
    with pytest.raises(OSError, match="page header"):
        pq.read_table(tmp_path / "out/pairs/00003.parquet")
    page = Page(Path(write_report(str(tmp_path / "out"))).read_text())
    assert shown(page) == {"Best by vif": ["p7", "p6", "p5"], "Worst by vif": ["p0", "p1", "p2"]}
    assert len(page.images()) == 18


@pytest.mark.parametrize(
    ("size", "expected"), [((2400, 1200), (960, 480)), ((500, 1920), (250, 960)), ((64, 48), (64, 48))]
)
def test_images_are_scaled_down_only(tmp_path, size, expected):
    (tmp_path / "a.png").write_bytes(grey(128, size))
    assert picture(tmp_path / "a.png").size == expected


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, form):
    levels = np.repeat(np.array([0, 257 * 100, 65535], np.uint16), 16)
    (tmp_path / "a").write_bytes(encoded(Image.fromarray(np.tile(levels, (48, 1))), form))
    row = np.asarray(picture(tmp_path / "a"))[24]
    assert row[[8, 24, 40]].tolist() == pytest.approx([0, 100, 255], abs=2)


def test_the_exif_orientation_is_applied(tmp_path):
    image = Image.new("L", (64, 32))
    image.paste(255, (0, 0, 32, 32))  # left half white
    exif = image.getexif()
    exif[0x0112] = 6  # shown turned clockwise: what was left is up
    (tmp_path / "a.jpg").write_bytes(encoded(image, "JPEG", exif=exif, comment=b"Jane Doe"))
    turned = picture(tmp_path / "a.jpg")
    assert turned.size == (32, 64)
    assert turned.getpixel((16, 8)) > 250 > 5 > turned.getpixel((16, 56))
    assert "comment" not in turned.info


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_image_can_be_shown(tmp_path, mode):
    image = Image.new(mode, (16, 16))
    (tmp_path / "a.tif").write_bytes(encoded(image, "TIFF"))
    assert picture(tmp_path / "a.tif").size == (16, 16)


def test_every_shown_pair_has_a_slider(tmp_path):
    page = make_page(tmp_path / "out", [pair(tmp_path, "one", vif=0.5), pair(tmp_path, "two", vif=0.6)])
    assert [a["type"] for a in page.all("input")] == ["range", "range"]
    assert [a["data-source"] for a in page.all("button")] == ["A", "B", ""] * 2


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_slider_works_in_a_browser(tmp_path):
    write_rows(
        tmp_path / "out",
        [pair(tmp_path, "one", vif=0.5), pair(tmp_path, "two", vif=0.6, a_uri="gone.png", b_uri="gone.png")],
    )
    url = Path(write_report(str(tmp_path / "out"))).as_uri()
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    flags += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    finished = subprocess.run([CHROMIUM, *flags, "--dump-dom", url], capture_output=True, text=True, timeout=120)
    page = Page(finished.stdout)
    # The pair whose sources are gone, shown first as the best, keeps a plain fused image.
    assert ["hidden" in a for a in page.all("input")] == [True, False]
    assert [a.get("aria-valuetext") for a in page.all("input")] == [None, "50 percent Source A"]
    assert [a["src"][:15] for a in page.all("img", "over")] == ["data:image/jpeg"]
    assert [a.get("aria-pressed") for a in page.all("button")][3:] == ["true", "false", "false"]
