"""The align job: pairs spread over an archive in, a rig for each camera and a page that shows them out.

    discover -> choose pairs of each camera -> fetch, decode, estimate (a task per camera) -> rig.json and its page

A few cameras are done in this process, many on Ray.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.align.cameras import OF_A_CAMERA, RigEstimator
from pipelines.align.config import AlignConfig
from pipelines.align.page import write_page
from pipelines.archive.discover import discover
from pipelines.cluster.inline import InlineRunner, runs_inline
from pipelines.cluster.runner import Runner
from pipelines.cluster.shared_paths import check_shared_paths
from pipelines.errors.exceptions import UsageError
from pipelines.rigs.estimate import settle
from pipelines.rigs.load import by_camera
from pipelines.storage import objects as storage
from upfusion.counted import counted
from upfusion.registration.rig import Rig
from upfusion.registration.rig_set import RigSet

CAMERA_IN_PAIRS = 12
"""Estimating a rig takes as long as fusing so many pairs, or more: nine cameras are worth a Ray of this machine."""


@dataclass(frozen=True)
class Outcome:
    """What the align job leaves behind."""

    rigs: RigSet
    refused: Mapping[str, str]
    """Why cameras have no rig."""
    file: str
    page: str
    seconds: float


def align(
    config: AlignConfig, on_progress: Callable[[str], None] = lambda _: None, *, verbose: bool = False
) -> Outcome:
    """Estimate the rigs of an archive, write them and a page.

    Raises UsageError where the archive cannot be read, where no camera's pairs show the same scene, and where the
    file cannot be written.
    """
    started = time.monotonic()
    check_shared_paths(config)
    on_progress("looking for pairs")
    found = discover(config, recordings=True)
    cameras = by_camera(found.pairs, config.pairs, config.per)
    each = " each" if len(cameras) > 1 else ""
    on_progress(f"estimating {counted(len(cameras), 'rig')} from up to {counted(config.pairs, 'pair')}{each}")
    blocks = [
        pairs.append_column(OF_A_CAMERA.field("camera"), pa.array([camera] * pairs.num_rows, pa.string()))
        for camera, pairs in cameras.items()
    ]
    rows: list[dict[str, Any]] = []
    with _runner(config, len(cameras), verbose=verbose) as runner:
        for block in runner.results(runner.add_tasks(runner.begin_with(blocks), RigEstimator(config))):
            rows += block.to_pylist()
            on_progress(f"estimated {len(rows)} of {counted(len(cameras), 'rig')}")
    rows.sort(key=lambda row: row["camera"])
    refused = {row["camera"]: row["refused"] for row in rows if row["rig"] is None}
    fitting = {row["camera"]: row for row in rows if row["rig"] is not None}
    rigs = settle({camera: Rig.from_json(row["rig"]) for camera, row in fitting.items()}, refused, config.per)
    file = storage.absolute(config.out)
    page = f"{file.removesuffix('.json')}.html"
    on_progress("writing the page")
    try:
        storage.write_bytes(file, rigs.to_json().encode())
        write_page(
            page, config.source, rigs, {name: json.loads(row["shown"]) for name, row in fitting.items()}, refused
        )
    except OSError as error:
        raise UsageError(f"--out {file} cannot be written: {storage.redact(str(error))}") from error
    return Outcome(rigs, refused, file, page, time.monotonic() - started)


def _runner(config: AlignConfig, cameras: int, *, verbose: bool) -> AbstractContextManager[Runner]:
    if runs_inline(config.runner, None, None, CAMERA_IN_PAIRS * cameras):
        return InlineRunner()
    from pipelines.cluster.ray_cluster import Cluster  # imports Ray, which takes seconds

    return Cluster(verbose=verbose)
