"""The page of a training run: its curves, and validation pairs fused by its last validated state.

It is written after every validation and at the end, from what lies in the run's folder.
"""

import base64
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.archive.splits import TRAIN, VAL
from pipelines.pages.render import render
from pipelines.storage import objects as storage
from pipelines.storage.ownership import run_file
from pipelines.storage.parquet import read_table
from pipelines.train.curves import PLOT_HEIGHT, PLOT_WIDTH, curves_of
from pipelines.train.data import TrainingPairs
from pipelines.train.folder import PICTURES, RunFolder
from pipelines.train.log import best_of, read_log
from pipelines.train.validation import BEST_BY, TRIPTYCHS

TEMPLATE = Path(__file__).with_name("report.html.jinja")
TRIPTYCH_SIDE = 1600  # pixels


def write_report(folder: RunFolder, steps: int) -> str:
    """Write `report.html` of a run that takes so many steps, and return its URI; raises OSError."""
    log, run = read_log(folder.log), json.loads(storage.read_bytes(run_file(folder.uri)))
    best = best_of(log)
    pairs = TrainingPairs(read_table(folder.data))
    step, pictures = _last_pictures(folder, [row["pair_id"] for row in pairs.of(VAL)])
    page = render(
        TEMPLATE,
        dest=folder.uri,
        run=run,
        roots=pairs.roots,
        written=datetime.now(UTC),
        step=log[-1]["step"] if log else 0,
        epoch=log[-1]["epoch"] if log else 0.0,
        steps=steps,
        best=best,
        best_by=BEST_BY,
        counts={"train": len(pairs.of(TRAIN)), "val": len(pairs.of(VAL)), "bad": len(pairs.bad)},
        groups=curves_of(log, best["step"] if best else None),
        plot=(PLOT_WIDTH, PLOT_HEIGHT),
        pictures=pictures,
        pictures_step=step,
        upfusion_version=run.get("versions", {}).get("upfusion"),
    )
    storage.write_bytes(folder.report, page)
    return folder.report


def _last_pictures(folder: RunFolder, val_ids: list[str]) -> tuple[int | None, list[dict[str, Any]]]:
    """Return the step of the last validation that left pictures, and its pictures with their pairs."""
    files = [uri for uri in storage.list_files(folder.checkpoints) if f"/{PICTURES}/" in uri]
    if not files:
        return None, []
    last = max(uri.rsplit("/", 3)[1] for uri in files)
    shown = sorted((uri for uri in files if uri.rsplit("/", 3)[1] == last), key=_number)
    # The pictures are numbered in the order of the ids of the drawn pairs.
    names = sorted(val_ids[:TRIPTYCHS])
    pictures = [{"name": name, **_jpeg(storage.read_bytes(uri))} for name, uri in zip(names, shown, strict=False)]
    return int(last.removeprefix("step_")), pictures


def _number(uri: str) -> int:
    return int(uri.rpartition("/")[2].removesuffix(".png"))


def _jpeg(data: bytes) -> dict[str, Any]:
    with Image.open(io.BytesIO(data)) as picture:
        image = picture.convert("RGB")
    image.thumbnail((TRIPTYCH_SIDE, TRIPTYCH_SIDE), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=85, optimize=True)
    return {"src": f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}", "size": image.size}
