import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors.failures import ERROR_CODES
from pipelines.fuse.report import page as report
from pipelines.fuse.report.page import write_report
from pipelines.storage import objects as storage

from .pages import RUN, Page, failed, grey, make_page, pair, shown, write_rows


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
    assert re.search(r"\b5\b \w+ 3 \w+ 2 [a-z ]+ 3\.0\b", page.text)
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
    assert "s3://archive/night" in page.text
    assert "tiny, 1,234,567 parameters" in page.text
    assert "0123456789ab " in page.text
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
    assert page.text.count(" unknown") >= 2


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.json"):
        write_report(str(tmp_path))


def test_an_archive_without_pairs_is_reported(tmp_path):
    page = make_page(tmp_path / "out", [])
    assert re.search(r"\b0 \w+ 0 \w+ 0\b", page.text)
    assert not page.all("img")
    assert not page.all("figure", "chart")


def test_only_the_files_of_the_folder_itself_count(tmp_path):
    write_rows(tmp_path / "out", [pair(tmp_path, "one")])
    (tmp_path / "out/pairs/unfinished").mkdir()
    shutil.copy(tmp_path / "out/pairs/00000.parquet", tmp_path / "out/pairs/unfinished/00000.parquet")
    (tmp_path / "out/pairs/notes.txt").write_text("no rows")
    page = Page(Path(write_report(str(tmp_path / "out"))).read_text())
    assert re.search(r"\b1 \w+ 1\b", page.text)


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
    start = page.rows.index([f"not_an_image: {ERROR_CODES['not_an_image']} · 2 pairs"])
    assert page.rows[start : start + 3] == [
        [f"not_an_image: {ERROR_CODES['not_an_image']} · 2 pairs"],
        ["two", "The file two is empty."],
        ["three", "The file three is empty."],
    ]
    start = page.rows.index([f"size_mismatch: {ERROR_CODES['size_mismatch']} · 1 pair"])
    assert page.rows[start + 1] == ["one", "A is 10x10, B is 20x20."]
    assert ["unknown · 1 pair"] in page.rows
    assert re.search(r"\b4\b[^.\d]*\b5\b[^.\d]*\b3\b", page.text)


def test_a_rare_error_is_listed_however_many_common_ones_there_are(tmp_path):
    rows = [failed(tmp_path, f"common{i}", "common", f"Common {i}.") for i in range(300)]
    rows += [failed(tmp_path, f"rare{i}", "rare", f"Rare {i}.") for i in range(2)]
    page = make_page(tmp_path / "out", rows, rows_a_file=100)
    assert ["rare1", "Rare 1."] in page.rows
    assert sum(row[0].startswith(("common", "rare")) and len(row) == 2 for row in page.rows) == 200
    assert ["common · 300 pairs, 198 listed"] in page.rows
    assert re.search(r"\b200\b[^.\d]*\b102\b.*pairs/\*\.parquet", page.text)


def test_images_without_a_partner_are_listed(tmp_path):
    write_rows(tmp_path / "out", [pair(tmp_path, "one")])
    assert "Images without a partner" not in Path(write_report(str(tmp_path / "out"))).read_text()
    counts = {"unpaired": 1200, "unpaired_files": [f"archive/<{i}>.png" for i in range(1000)]}
    (tmp_path / "out/_SUCCESS.json").write_text(json.dumps(counts))
    page = Page(Path(write_report(str(tmp_path / "out"))).read_text())
    assert re.search(r"\b1,200\b", page.text)
    assert re.search(r"archive/<199>\.png\D*\b1,000\b", page.text)


def test_what_was_noted_about_a_pair_is_shown(tmp_path):
    page = make_page(tmp_path / "out", [pair(tmp_path, "one", note="Source A: alpha dropped.")])
    assert "Source A: alpha dropped." in page.text


def test_all_failed(tmp_path):
    rows = [failed(tmp_path, f"p{i}", "unreadable", "No image.") for i in range(3)]
    page = make_page(tmp_path / "out", rows)
    assert re.search(r"\b3\b[^.\d]*\b3\b[^.\d]*\b1\b", page.text)
    assert not page.all("img")
    assert not page.all("article", "pair")


def test_a_histogram_for_each_metric(tmp_path):
    values = np.linspace(0.2, 0.8, 41)
    rows = [pair(tmp_path, f"p{i}", vif=float(value), en=7.5) for i, value in enumerate(values)]
    rows += [pair(tmp_path, "flat", en=7.5), failed(tmp_path, "lost", "unreadable", "No image.", vif=None)]
    page = make_page(tmp_path / "out", rows, rows_a_file=50)
    assert len(page.all("figure", "chart")) == 2
    assert re.search(r"\(vif\)\D* 41\b\D*\b1\b", page.text)
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
    assert re.search(r"\bA\b[^.]*\(FileNotFoundError\)", page.text)
