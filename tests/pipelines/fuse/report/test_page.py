import base64
import dataclasses
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.fuse.report import page as report
from pipelines.fuse.report.page import write_report
from pipelines.fuse.schemas import STAGES, output_schema
from pipelines.storage import objects as storage

TIMES = tuple(f"{stage}_ms" for stage in STAGES)
RUN = {
    "digest": "0123456789abcdef0123",
    "config": {"source": "s3://archive/night", "batch": 8, "b": None},
    "versions": {"upfusion": "9.8.7"},
    "model": {"name": "tiny", "parameters": 1234567, "trained_on": ["LLVIP"]},
}


class Page(HTMLParser):
    """What a reader sees of a page: its text, its tags, the rows of its tables."""

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.rows = html, [], []
        self._words, self._unseen, self._in_cell = [], False, False
        self.feed(html)
        self.text = " ".join("".join(self._words).split())
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._unseen = self._unseen or tag in ("script", "style")
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True
        if tag not in ("code", "span", "strong"):
            self.handle_data(" ")

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._unseen = False
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        if not self._unseen:
            self._words.append(data)
        if self._in_cell:
            self.rows[-1][-1] += data

    def all(self, tag, name=None):
        """Give the attributes of every such tag, of those of a class where one is named."""
        found = [attributes for t, attributes in self.tags if t == tag]
        return [a for a in found if name is None or name in a.get("class", "").split()]

    def images(self):
        """Give every picture as (alt text, decoded image)."""
        return [
            (a["alt"], Image.open(io.BytesIO(base64.b64decode(a["src"].split(",", 1)[1])))) for a in self.all("img")
        ]


def encoded(image, form="PNG", **options):
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def grey(level, size=(24, 16)):
    return encoded(Image.new("L", size, level))


def pair(folder, pair_id, **values):
    """Make an `ok` row whose sources are files of the folder."""
    for name in "ab":
        (folder / f"{name}.png").write_bytes(grey(80))
    return {
        "pair_id": pair_id,
        "a_uri": str(folder / "a.png"),
        "b_uri": str(folder / "b.png"),
        "task": "ir_visible",
        "model": "tiny",
        "status": "ok",
        "width": 1000,
        "height": 500,
        "fused": {"bytes": grey(160), "path": f"{pair_id}.png"},
        **dict.fromkeys(TIMES, 10.0),
        **values,
    }


def failed(folder, pair_id, code, error, **values):
    lost = dict.fromkeys(("width", "height", "fused", *TIMES))
    return pair(folder, pair_id, status="failed", error_code=code, error=error, **{**lost, **values})


def write_rows(dest, rows, metrics=("vif", "en"), run=RUN, rows_a_file=2):
    """Write the output of a fuse job, its rows spread over many files."""
    schema = output_schema(metrics)
    (dest / "pairs").mkdir(parents=True)
    for start in range(0, len(rows), rows_a_file):
        table = pa.Table.from_pylist(rows[start : start + rows_a_file], schema)
        pq.write_table(table, dest / "pairs" / f"{start:05d}.parquet")
    (dest / "run.json").write_text(json.dumps(run))


def make_page(dest, rows, **options):
    write_rows(dest, rows, **options)
    return Page(Path(write_report(str(dest))).read_text())


def test_the_totals_count_pairs_by_task_and_size(tmp_path):
    page = make_page(
        tmp_path / "out",
        [
            pair(tmp_path, "one"),
            pair(tmp_path, "two"),
            pair(tmp_path, "three", task="pet_mri", width=2000, height=1000),
            failed(tmp_path, "four", "unreadable", "No image.", width=1000, height=500),
            failed(tmp_path, "five", "unreadable", "No image."),
        ],
    )
    assert "pairs 5 fused 3 failed 2 megapixels fused 3.0" in page.text
    assert ["ir_visible infrared + visible", "4", "2", "2", "1.0"] in page.rows
    assert ["pet_mri PET + MRI", "1", "1", "0", "2.0"] in page.rows
    assert ["1000 \u00d7 500", "3", "2", "1", "1.0"] in page.rows
    assert ["2000 \u00d7 1000", "1", "1", "0", "2.0"] in page.rows
    assert ["unknown", "1", "0", "1", "0.0"] in page.rows


def test_rare_sizes_are_counted_together(tmp_path):
    page = make_page(tmp_path / "out", [pair(tmp_path, f"p{i}", width=100 + i, height=100) for i in range(9)])
    assert ["3 more", "3", "3", "0", "0.0"] in page.rows


def test_the_header_and_the_settings_say_what_was_run(tmp_path):
    page = make_page(tmp_path / "out", [pair(tmp_path, "one")])
    assert "fusion report s3://archive/night" in page.text
    assert "tiny, 1,234,567 parameters" in page.text
    assert "0123456789ab Report written" in page.text
    assert page.all("details")
    assert ["batch", "8"] in page.rows
    assert ["b", "null"] in page.rows
    assert ["trained_on", '["LLVIP"]'] in page.rows
    assert ["upfusion", "9.8.7"] in page.rows
    assert ["digest", RUN["digest"]] in page.rows


@pytest.mark.parametrize("run", [{}, {"model": None, "config": {}, "digest": None}])
def test_a_run_that_says_little_is_reported(tmp_path, run):
    page = make_page(tmp_path / "out", [pair(tmp_path, "one", vif=0.5)], run=run)
    assert str(tmp_path / "out") in page.text
    assert "Model unknown Digest of weights and settings unknown" in page.text


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.json; .* is not the output of a fuse job"):
        write_report(str(tmp_path))


def test_an_archive_without_pairs_is_reported(tmp_path):
    page = make_page(tmp_path / "out", [])
    assert "pairs 0 fused 0 failed 0" in page.text
    assert "No pair was fused" in page.text
    assert "No stage was timed" in page.text


def test_only_the_files_of_the_folder_itself_count(tmp_path):
    write_rows(tmp_path / "out", [pair(tmp_path, "one")])
    (tmp_path / "out/pairs/unfinished").mkdir()
    shutil.copy(tmp_path / "out/pairs/00000.parquet", tmp_path / "out/pairs/unfinished/00000.parquet")
    (tmp_path / "out/pairs/notes.txt").write_text("no rows")
    page = Page(Path(write_report(str(tmp_path / "out"))).read_text())
    assert "pair 1 fused 1" in page.text


def test_failures_are_grouped_by_error_code(tmp_path):
    page = make_page(
        tmp_path / "out",
        [
            pair(tmp_path, "fine"),
            failed(tmp_path, "one", "size_mismatch", "A is 10x10, B is 20x20."),
            failed(tmp_path, "two", "not_an_image", "The file two is empty."),
            failed(tmp_path, "three", "not_an_image", "The file three is empty."),
            failed(tmp_path, "four", None, None),
        ],
    )
    start = page.rows.index(["not_an_image: a source file is not an image · 2 pairs"])
    assert page.rows[start : start + 3] == [
        ["not_an_image: a source file is not an image · 2 pairs"],
        ["two", "The file two is empty."],
        ["three", "The file three is empty."],
    ]
    start = page.rows.index(["size_mismatch: the sources of a pair differ in size · 1 pair"])
    assert page.rows[start + 1] == ["one", "A is 10x10, B is 20x20."]
    assert ["unknown · 1 pair"] in page.rows
    assert "4 of 5 pairs failed, 3 kinds of error." in page.text


def test_a_rare_error_is_listed_however_many_common_ones_there_are(tmp_path):
    rows = [failed(tmp_path, f"common{i}", "common", f"Common {i}.") for i in range(300)]
    rows += [failed(tmp_path, f"rare{i}", "rare", f"Rare {i}.") for i in range(2)]
    page = make_page(tmp_path / "out", rows, rows_a_file=100)
    assert ["rare1", "Rare 1."] in page.rows
    assert sum(row[0].startswith(("common", "rare")) and len(row) == 2 for row in page.rows) == 200
    assert ["common · 300 pairs, 198 listed"] in page.rows
    assert "200 are listed, 102 more are in pairs/*.parquet" in page.text


def test_images_without_a_partner_are_listed(tmp_path):
    write_rows(tmp_path / "out", [pair(tmp_path, "one")])
    assert "Images without a partner" not in Path(write_report(str(tmp_path / "out"))).read_text()
    counts = {"unpaired": 1200, "unpaired_files": [f"archive/<{i}>.png" for i in range(1000)]}
    (tmp_path / "out/_SUCCESS.json").write_text(json.dumps(counts))
    page = Page(Path(write_report(str(tmp_path / "out"))).read_text())
    assert "1,200 images have no partner in the archive" in page.text
    assert "archive/<199>.png and 1,000 more." in page.text


def test_what_was_noted_about_a_pair_is_shown(tmp_path):
    page = make_page(tmp_path / "out", [pair(tmp_path, "one", note="Source A: alpha dropped.")])
    assert "Source A: alpha dropped." in page.text


def test_all_failed(tmp_path):
    rows = [failed(tmp_path, f"p{i}", "unreadable", "No image.") for i in range(3)]
    page = make_page(tmp_path / "out", rows)
    assert "No pair was fused" in page.text
    assert "3 of 3 pairs failed, 1 kind of error." in page.text
    assert not page.all("img")
    assert not page.all("article", "pair")


def shown(page):
    """Give the ids of the shown pairs, a list for each heading."""
    section = page.html[page.html.index('id="pairs"') : page.html.index('id="metrics"')]
    groups = re.split(r"<h3>(.*?)</h3>", section)[1:]
    ids = [re.findall(r'<h4 class="id">(.*?)</h4>', part) for part in groups[1::2]]
    return dict(zip(groups[::2], ids, strict=True))


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
    assert ("Lower is better" if higher_is_better is False else "Neither end is better") in page.text
    assert "Higher is better" in page.text  # en


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
    assert "No metric was measured." in page.text
    assert not page.all("figure", "chart")


def test_a_histogram_for_each_metric(tmp_path):
    values = np.linspace(0.2, 0.8, 41)
    rows = [pair(tmp_path, f"p{i}", vif=float(value), en=7.5) for i, value in enumerate(values)]
    rows += [pair(tmp_path, "flat", en=7.5), failed(tmp_path, "lost", "unreadable", "No image.", vif=None)]
    page = make_page(tmp_path / "out", rows, rows_a_file=50)
    assert len(page.all("figure", "chart")) == 2
    assert "Visual information fidelity (vif) Higher is better · 41 pairs, 1 without a value" in page.text
    vif, en = (svg["aria-label"] for svg in page.all("svg") if "Histogram" in svg.get("aria-label", ""))
    assert vif == "Histogram of vif over 41 pairs, mean 0.5, p5 0.23, p50 0.5, p95 0.77"
    assert en == "Histogram of en over 42 pairs, mean 7.5, p5 7.5, p50 7.5, p95 7.5"
    counts = [int(n) for n in re.findall(r"<title>\S+ to \S+: (\d+)</title>", page.html)]
    assert sum(counts) == 41 + 42
    assert max(counts) == 42
    heights = [float(bar["height"]) for bar in page.all("rect", "bar")]
    assert heights[-1] < max(heights) == report.PLOT_HEIGHT
    assert "mean 0.5 p5 0.23 p50 0.5 p95 0.77" in page.text


def test_time_is_shared_out_over_the_stages(tmp_path):
    times = {"fetch_ms": 100.0, "decode_ms": 200.0, "fuse_ms": 600.0, "measure_ms": None, "encode_ms": 100.0}
    page = make_page(tmp_path / "out", [pair(tmp_path, f"p{i}", **times) for i in range(5)])
    assert ["fetch", "10.0 %", "0.5 s", "100 ms"] in page.rows
    assert ["fuse", "60.0 %", "3 s", "600 ms"] in page.rows
    bars = re.findall(r'<rect x="([\d.]+)%" y="1" width="([\d.]+)%"', page.html)
    assert [tuple(map(float, bar)) for bar in bars] == [(0, 10), (10, 20), (30, 60), (90, 10)]
    assert not any(row[0] == "measure" for row in page.rows)


def test_text_from_the_archive_is_escaped(tmp_path):
    evil = """"><script>alert('x')</script><img src=x onerror='alert(1)'>"""
    rows = [
        pair(tmp_path, evil, vif=0.5, prompt=evil, task=evil, a_uri=evil),
        failed(tmp_path, evil + "2", evil, evil),
    ]
    page = make_page(tmp_path / "out", rows, run={**RUN, "config": {"source": evil, evil: evil}, "digest": evil})
    assert "<script>" not in page.html
    assert len(page.all("script")) == 1
    assert all(set(a) <= {"src", "width", "height", "data-image", "alt"} for a in page.all("img"))
    assert evil in page.text
    assert [evil + "2", evil] in page.rows
    assert f"Fused image of pair {evil}" in [alt for alt, _ in page.images()]


def test_signs_that_turn_text_around_or_cannot_be_seen_are_written_out(tmp_path):
    evil = "\u202egnp.exe\x00\u200f \x1b[2J"
    rows = [pair(tmp_path, evil, vif=0.5, prompt=evil, a_uri=evil), failed(tmp_path, evil + "2", evil, evil)]
    page = make_page(tmp_path / "out", rows, run={**RUN, "config": {"source": evil, evil: evil}})
    assert not set("\u202e\x00\u200f\x1b") & set(page.html)
    harmless = r"\u202egnp.exe\x00\u200f \x1b[2J"
    assert [harmless + "2", harmless] in page.rows
    assert f"Fused image of pair {harmless}" in [alt for alt, _ in page.images()]


def test_only_the_pages_own_script_may_run(tmp_path):
    page = make_page(tmp_path / "out", [pair(tmp_path, "one")])
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv"))
    nonce = page.all("script")[0]["nonce"]
    assert len(nonce) > 20
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert policy.endswith(f"script-src 'nonce-{nonce}'")


def test_a_source_that_is_gone_is_a_labelled_box(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    rows = [
        pair(tmp_path, "gone", a_uri=str(tmp_path / "gone.png"), b_uri=str(tmp_path)),
        pair(tmp_path, "broken", a_uri=str(tmp_path / "broken.png"), b_uri="nonsense://b/key"),
    ]
    page = make_page(tmp_path / "out", rows)
    assert [alt for alt, _ in page.images()] == ["Fused image of pair gone", "Fused image of pair broken"]
    assert len(page.all("div", "missing")) == 4
    assert "Source A can no longer be read (FileNotFoundError)" in page.text
    assert "Source B can no longer be read (IsADirectoryError)" in page.text
    assert "Source A can no longer be read (ImageError)" in page.text
    assert "Source B can no longer be read (ValueError)" in page.text


def test_a_fused_image_comes_from_its_file_where_the_row_has_no_bytes(tmp_path):
    (tmp_path / "fused.png").write_bytes(grey(200, (30, 20)))
    rows = [
        pair(tmp_path, "file", fused={"bytes": None, "path": "f"}, fused_uri=str(tmp_path / "fused.png")),
        pair(tmp_path, "neither", fused=None),
    ]
    page = make_page(tmp_path / "out", rows)
    assert dict(page.images())["Fused image of pair file"].size == (30, 20)
    assert "Fused image is not stored" in page.text


def test_images_that_may_not_be_read_are_labelled_boxes(tmp_path):
    (tmp_path / "fused.png").write_bytes(grey(200))
    rows = [pair(tmp_path, "x", fused=None, fused_uri=str(tmp_path / "fused.png"))]
    write_rows(tmp_path / "out", rows)
    page = Page(Path(write_report(str(tmp_path / "out"), lambda uri: uri.endswith("/a.png"))).read_text())
    assert [alt for alt, _ in page.images()] == ["Source A of pair x"]
    for name in ("Source B", "Fused image"):
        assert f"{name} is outside the locations this job may read" in page.text


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


def blank_column(file, name):
    """Overwrite a column with zeros, so that whoever reads it fails."""
    group = pq.read_metadata(file).row_group(0)
    column = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == name)
    data = bytearray(file.read_bytes())
    start, size = column.dictionary_page_offset, column.total_compressed_size
    data[start : start + size] = bytes(size)
    file.write_bytes(data)


def picture(path):
    source = report._picture(str(path))["src"]
    assert source.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))


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


def test_the_page_loads_nothing(tmp_path):
    rows = [pair(tmp_path, f"p{i}", vif=i / 10) for i in range(6)]
    rows += [failed(tmp_path, "lost", "unreadable", "No image.")]
    page = make_page(tmp_path / "out", rows)
    loading = ("src", "href", "srcset", "poster", "data", "action", "xlink:href")
    references = [a[name] for _, a in page.tags for name in loading if name in a]
    assert len(references) > 18
    assert all(reference.startswith(("data:", "#")) for reference in references)
    assert all(target.startswith("#") for target in re.findall(r"url\(['\"]?(.)", page.html))
    assert "@import" not in page.html
    assert "http://" not in page.html
    assert "https://" not in page.html


def test_every_shown_pair_has_a_slider(tmp_path):
    page = make_page(tmp_path / "out", [pair(tmp_path, "one", vif=0.5), pair(tmp_path, "two", vif=0.6)])
    assert [a["type"] for a in page.all("input")] == ["range", "range"]
    assert [a["data-source"] for a in page.all("button")] == ["A", "B", ""] * 2


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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


def test_a_report_on_an_object_store(tmp_path, object_store):
    dest = f"{object_store.new_bucket()}/jobs/night"
    (tmp_path / "fused.png").write_bytes(grey(200, (30, 20)))
    storage.write_bytes(f"{dest}/images/two.png", grey(200, (30, 20)))
    write_rows(
        tmp_path / "out",
        [
            pair(tmp_path, "one", vif=0.5),
            pair(tmp_path, "two", vif=0.6, fused=None, fused_uri=f"{dest}/images/two.png"),
            pair(tmp_path, "three", vif=0.7, a_uri=f"{dest}/gone.png"),
        ],
    )
    for file in (tmp_path / "out").rglob("*.*"):
        storage.write_bytes(f"{dest}/{file.relative_to(tmp_path / 'out')}", file.read_bytes())
    assert write_report(f"{dest}/") == f"{dest}/report.html"
    page = Page(storage.read_bytes(f"{dest}/report.html").decode())
    assert shown(page) == {"Best by vif": ["three", "two"], "Worst by vif": ["one"]}
    assert dict(page.images())["Fused image of pair two"].size == (30, 20)
    assert "Source A can no longer be read (FileNotFoundError)" in page.text
