"""The totals of a report: how many pairs and recordings were fused, of which tasks and sizes, and where time went."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.fuse.schemas import STAGES

SIZES_LISTED = 6


def sum_up(rows: pa.Table, ok: np.ndarray) -> dict[str, Any]:
    """Return numbers of rows, of pairs of images and of recordings; a recording is ok if all of its segments are.

    `rows` has the columns `recording`, `frames`, `task`, `width` and `height`.
    """
    frames = rows["frames"].fill_null(1).to_numpy()
    pixels = np.nan_to_num(rows["width"].to_numpy().astype(float) * rows["height"].to_numpy()) * frames
    megapixels = pa.array(np.where(ok, pixels / 1e6, 0.0))
    narrow = rows.select(["recording", "task", "width", "height", "frames"])
    narrow = narrow.append_column("ok", pa.array(ok)).append_column("megapixels", megapixels)
    images = narrow.filter(pc.is_null(narrow["recording"]))
    recordings = _recordings(narrow)
    counted = pa.concat_tables([table.select(COUNTED.names).cast(COUNTED) for table in (images, recordings)])

    def by(*keys: str) -> list[dict[str, Any]]:
        sums = [([], "count_all"), ("ok", "sum"), ("megapixels", "sum")]
        groups = counted.group_by(list(keys)).aggregate(sums)
        return groups.sort_by([("count_all", "descending"), (keys[0], "ascending")]).to_pylist()

    sizes = by("width", "height")
    images_ok = pc.sum(images["ok"]).as_py() or 0
    recordings_ok = pc.sum(recordings["ok"]).as_py() or 0
    return {
        "rows": len(ok),
        "rows_failed": int((~ok).sum()),
        # What a row is.
        "row": "pair" if not recordings.num_rows else "segment" if not images.num_rows else "row",
        "counted": " and ".join(["pairs"] * bool(images.num_rows) + ["recordings"] * bool(recordings.num_rows)),
        "pairs": images.num_rows,
        "ok": images_ok,
        "failed": images.num_rows - images_ok,
        "recordings": recordings.num_rows,
        "recordings_ok": recordings_ok,
        "recordings_failed": recordings.num_rows - recordings_ok,
        "frames": pc.sum(narrow["frames"].filter(pa.array(ok))).as_py() or 0,
        "megapixels": pc.sum(megapixels).as_py() or 0.0,
        "tasks": by("task"),
        "sizes": sizes[:SIZES_LISTED],
        "other_sizes": sizes[SIZES_LISTED:],
    }


COUNTED = pa.schema(
    [
        pa.field("task", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("ok", pa.bool_()),
        pa.field("megapixels", pa.float64()),
    ]
)


def _recordings(rows: pa.Table) -> pa.Table:
    """Make one row of the segments of each recording."""
    sums = [("task", "min"), ("width", "max"), ("height", "max"), ("ok", "min"), ("megapixels", "sum")]
    grouped = rows.filter(pc.is_valid(rows["recording"])).group_by("recording").aggregate(sums)
    return grouped.select([f"{column}_{how}" for column, how in sums]).rename_columns([column for column, _ in sums])


def sum_up_stages(rows: pa.Table) -> list[dict[str, Any]]:
    """Return the time of each stage: its sum in seconds, its share of all, its median in milliseconds."""
    columns = {stage: rows[f"{stage}_ms"] for stage in STAGES}
    timed = {stage: column.to_numpy() for stage, column in columns.items() if column.null_count < len(column)}
    totals = np.array([np.nansum(milliseconds) for milliseconds in timed.values()])
    shares = totals / (totals.sum() or 1.0)
    return [
        {
            "title": stage,
            "start": start,
            "share": share,
            "seconds": total / 1e3,
            "median": np.nanmedian(milliseconds),
        }
        for (stage, milliseconds), start, share, total in zip(
            timed.items(), np.cumsum(shares) - shares, shares, totals, strict=True
        )
    ]
