"""Folders as a fuse job leaves them, and their reports as a reader sees them."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipelines.fuse.report.page import write_report
from pipelines.fuse.schemas import STAGES, output_schema

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


def shown(page):
    """Give the ids of the shown pairs, a list for each heading."""
    section = page.html[page.html.index('id="pairs"') : page.html.index('id="metrics"')]
    groups = re.split(r"<h3>(.*?)</h3>", section)[1:]
    ids = [re.findall(r'<h4 class="id">(.*?)</h4>', part) for part in groups[1::2]]
    return dict(zip(groups[::2], ids, strict=True))
