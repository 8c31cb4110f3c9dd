"""The report of a fuse job: one self-contained HTML page beside the rows it describes.

An archive may hold a million rows, so the page is made from the narrow columns only; images are read only
for the few pairs it shows.
"""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.archive.allowlist import MayRead, allow_all
from pipelines.errors.failures import ERROR_CODES
from pipelines.fuse.counts import undefined_in
from pipelines.fuse.destination import Destination
from pipelines.fuse.price import Price
from pipelines.fuse.report.dial import find_dial
from pipelines.fuse.report.histogram import PLOT_HEIGHT, PLOT_WIDTH, histogram
from pipelines.fuse.report.recordings import show_recordings
from pipelines.fuse.report.sources import FusedSources, fused_picture
from pipelines.fuse.report.totals import sum_up, sum_up_stages
from pipelines.fuse.schemas import STAGES, output_schema
from pipelines.measure.summary import Undefined, group_undefined
from pipelines.pages.render import render
from pipelines.storage import objects as storage
from pipelines.storage.parquet import list_tables, read_as
from upfusion.metrics import METRICS, Metric
from upfusion.prompts import TASKS
from upfusion.registration.alignment import THRESHOLD

TEMPLATE = Path(__file__).with_name("report.html.jinja")
HEADLINES = ("vif_balanced", "vif")  # in order of preference; copying a source raises only the second
EXTREMES = 3  # pairs shown from each end of the headline metric
FAILURES_LISTED = 200
UNPAIRED_LISTED = 200
WORST_ALIGNED = 10
BOARDS = 3
RIGS_LISTED = 20
# Missing columns are read as null, so one schema covers every subset of metrics.
SCHEMA = output_schema(tuple(METRICS))
NARROW_NAMES = [
    "alignment",
    "note",
    "pair_id",
    "task",
    "balance",
    "status",
    "error_code",
    "error",
    "width",
    "height",
    "recording",
    "frames",
    *METRICS,
]
NARROW = pa.schema([SCHEMA.field(name) for name in [*NARROW_NAMES, *(f"{stage}_ms" for stage in STAGES)]])

# Inner size of a histogram in SVG units; the template draws the frame around it.


def write_report(dest: str, may_read: MayRead = allow_all, price: Price | None = None) -> str:
    """Write `report.html` for the fuse job with output folder `dest`, and return its URI.

    Only images that `may_read` allows are read, because others may have written rows, too.

    Raises FileNotFoundError without a `run.json`.
    """
    dest = storage.absolute(dest)
    run = _read_run(dest)
    rows, file_of = _read_narrow(list_tables(storage.join(dest, "pairs")))
    ok = rows["status"].to_numpy() == "ok"
    measured = {
        name: (metric, values)
        for name, metric in METRICS.items()
        if np.isfinite(values := rows[name].to_numpy()[ok]).any()
    }
    headline = next((name for name in HEADLINES if name in measured), next(iter(measured), None))
    is_image = pc.is_null(rows["recording"]).to_numpy()
    sources = FusedSources(dest, run, may_read)
    groups = [
        (title, [_shown_pair(file_of[index], rows, index, sources) for index in indices])
        for title, indices in _choose_pairs(rows, ok & is_image, [metric for metric, _ in measured.values()])
    ]
    recordings = show_recordings(Destination(dest), run, rows, headline, sources)
    page = render(
        TEMPLATE,
        dest=dest,
        run=run,
        written=datetime.now(UTC),
        totals=sum_up(rows, ok),
        groups=groups,
        dial=[_shown_pair(file_of[index], rows, index, sources) for index in find_dial(rows, ok & is_image, file_of)],
        recordings=recordings,
        rig=_rig(groups, recordings, sources),
        histograms=[histogram(metric, values) for metric, values in measured.values()],
        undefined=group_undefined(_undefined(rows.filter(pa.array(ok)), run, measured)),
        plot=(PLOT_WIDTH, PLOT_HEIGHT),
        stages=sum_up_stages(rows),
        failures=_failures(rows, ok),
        unpaired=_unpaired(dest),
        alignment=_alignment(dest, rows),
        price=price,
        tasks=TASKS,
        upfusion_version=run["versions"].get("upfusion"),
    )
    uri = storage.join(dest, "report.html")
    storage.write_bytes(uri, page)
    return uri


def _read_run(dest: str) -> dict[str, Any]:
    uri = storage.join(dest, "run.json")
    try:
        run = json.loads(storage.read_bytes(uri))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Expected {uri}; {dest} is not the output of a fuse job.") from error
    known = {key: value for key, value in run.items() if value is not None}
    return {"config": {}, "versions": {}, "model": {}, "digest": "", **known}


def _unpaired(dest: str) -> dict[str, Any]:
    counts = _counts(dest)
    return {"count": counts.get("unpaired", 0), "files": counts.get("unpaired_files", [])[:UNPAIRED_LISTED]}


def _counts(dest: str) -> dict[str, Any]:
    try:
        counts: dict[str, Any] = json.loads(storage.read_bytes(storage.join(dest, "_SUCCESS.json")))
    except FileNotFoundError:  # an incomplete job, or one with --limit
        return {}
    return counts


def _alignment(dest: str, rows: pa.Table) -> dict[str, Any] | None:
    """Return how many pairs are registered, and the worst of them; None where no pair has a score."""
    scored = rows.filter(pc.is_valid(rows["alignment"])).sort_by("alignment")
    if not scored.num_rows:
        return None
    below = pc.sum(pc.less(scored["alignment"], THRESHOLD)).as_py()
    worst = scored.slice(0, min(below, WORST_ALIGNED)).select(["pair_id", "alignment", "note"]).to_pylist()
    about = {"description": _counts(dest).get("alignment"), "pairs": scored.num_rows, "threshold": THRESHOLD}
    return about | {"below": below, "worst": worst}


def _read_narrow(files: list[str]) -> tuple[pa.Table, list[str]]:
    """Read the narrow columns of all rows, with the file that each row is from."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        tables = list(pool.map(lambda uri: read_as(uri, NARROW), files))
    rows = pa.concat_tables([NARROW.empty_table(), *tables])
    return rows, [uri for uri, table in zip(files, tables, strict=True) for _ in range(table.num_rows)]


def _undefined(ok: pa.Table, run: dict[str, Any], measured: dict[str, Any]) -> dict[str, Undefined]:
    asked = run["config"].get("metrics") or measured
    names = [name for name in METRICS if name in asked and ok[name].null_count]
    return undefined_in(ok, names) if names else {}


def _choose_pairs(rows: pa.Table, ok: np.ndarray, measured: list[Metric]) -> list[tuple[str, list[int]]]:
    if not measured:
        first = np.flatnonzero(ok)[: 2 * EXTREMES].tolist()
        return [("The first pairs", first)] if first else []
    named = {metric.name: metric for metric in measured}
    headline = next((named[name] for name in HEADLINES if name in named), measured[0])
    values = rows[headline.name].to_numpy()
    ranked = np.flatnonzero(ok & np.isfinite(values))
    sign = 1 if headline.higher_is_better is False else -1
    ranked = ranked[np.argsort(sign * values[ranked], kind="stable")]
    half = min(EXTREMES, math.ceil(len(ranked) / 2))
    names = ("Highest", "Lowest") if headline.higher_is_better is None else ("Best", "Worst")
    ends = zip(names, (ranked[:half], ranked[half:][::-1][:EXTREMES]), strict=True)
    return [(f"{name} by {headline.name}", indices.tolist()) for name, indices in ends if len(indices)]


def _shown_pair(file: str, rows: pa.Table, index: int, sources: FusedSources) -> dict[str, Any]:
    pair_id = rows["pair_id"][index].as_py()
    row = read_as(file, SCHEMA).filter(pc.field("pair_id") == pair_id).to_pylist()[0]
    row["metrics"] = {name: row[name] for name in METRICS if row[name] is not None}
    a, b = sources.pictures(row)
    row["images"] = {"A": a, "B": b, "F": fused_picture(row, sources.may_read)}
    return row


def _rig(
    groups: list[tuple[str, list[dict[str, Any]]]], recordings: dict[str, Any], sources: FusedSources
) -> dict[str, Any] | None:
    """Return what the page shows of the rigs: each in a line, and some pairs before and after; None without rigs."""
    if sources.rigs is None:
        return None
    chosen = [pair for _, pairs in groups for pair in pairs][:BOARDS]
    boards = [*(sources.boards_of(pair) for pair in chosen), *(one["boards"] for one in recordings["shown"])]
    rigs = [(camera, rig.describe()) for camera, rig in list(sources.rigs.rigs.items())[:RIGS_LISTED]]
    return {"rigs": rigs, "count": len(sources.rigs.rigs), "boards": [board for board in boards if board][:BOARDS]}


def _failures(rows: pa.Table, ok: np.ndarray) -> list[dict[str, Any]]:
    """Group the failed rows by error code; the listed rows are spread evenly over the codes."""
    failed = rows.filter(pa.array(~ok)).select(["error_code", "pair_id", "error"])
    groups: dict[str, dict[str, Any]] = {}
    ranks = []
    codes = failed["error_code"].fill_null("unknown").to_pylist()
    for code in codes:
        group = groups.setdefault(code, {"code": code, "meaning": ERROR_CODES.get(code), "count": 0, "rows": []})
        ranks.append(group["count"])
        group["count"] += 1
    for index in sorted(np.argsort(ranks, kind="stable")[:FAILURES_LISTED].tolist()):
        groups[codes[index]]["rows"].append(failed.slice(index, 1).to_pylist()[0])
    return sorted(groups.values(), key=lambda group: -group["count"])
