"""Estimating the rigs of an archive's cameras: one task per camera, in this process or on Ray.

    choose pairs of each camera -> fetch, decode, estimate (a task per camera) -> rigs, and why cameras have none

A few cameras are done in this process, many on Ray. `upfusion align` and `upfusion fuse --rig auto` share it.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa

from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.cluster.inline import InlineRunner, runs_inline
from pipelines.cluster.runner import Runner
from pipelines.errors.failures import Row, Rows
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.rig_frames import sample_pairs
from pipelines.rigs.estimate import estimate_rig_of, settle
from pipelines.rigs.load import Viewed, by_camera
from upfusion.counted import counted
from upfusion.registration.rig import Rig, RigError
from upfusion.registration.rig_set import RigSet

OF_A_CAMERA = pa.schema([*MANIFEST_SCHEMA, pa.field("camera", pa.string())])
"""A pair that a rig is estimated from; a block has those of one camera."""

ESTIMATED = pa.schema([(name, pa.string()) for name in ("camera", "rig", "shown", "refused")])
"""A camera: its rig as JSON and what there is to show of it, or why it has none."""

CAMERA_IN_PAIRS = 12
"""Estimating a rig takes as long as fusing so many pairs, or more: nine cameras are worth a Ray of this machine."""

Describe = Callable[[Rig, Sequence[Viewed]], str]
"""Makes what there is to show of a rig, where the pairs that it was estimated from are in memory."""


class RigEstimator:
    """Reads the pairs of a camera and estimates its rig: about 10 s on one core, and 100 MB, for 32 pairs."""

    def __init__(self, config: FuseConfig, count: int, describe: Describe | None = None) -> None:
        self.config, self.count, self.describe = config, count, describe

    def __call__(self, pairs: pa.Table) -> pa.Table:
        """Return the row of the camera (ESTIMATED) whose pairs (OF_A_CAMERA) a block holds."""
        row: Row = {"camera": pairs["camera"][0].as_py()}
        viewed = sample_pairs(pairs, self.config, self.count)
        try:
            rig = estimate_rig_of(viewed)
            row |= {"rig": rig.to_json(), "shown": self.describe and self.describe(rig, viewed)}
        except RigError as error:
            row["refused"] = str(error)
        return pa.Table.from_pylist([row], ESTIMATED)


def estimate_rigs(
    pairs: pa.Table, estimator: RigEstimator, on_progress: Callable[[str], None], *, verbose: bool = False
) -> tuple[RigSet, Rows]:
    """Estimate the rig of every camera (`--per`); return the rigs, and the rows of all cameras (ESTIMATED) by name.

    Raises UsageError where no camera's pairs show the same scene.
    """
    config, count = estimator.config, estimator.count
    cameras = by_camera(pairs, count, config.per)
    each = " each" if len(cameras) > 1 else ""
    on_progress(f"estimating {counted(len(cameras), 'rig')} from up to {counted(count, 'pair')}{each}")
    rows: list[dict[str, Any]] = []
    with _runner(config, len(cameras), verbose=verbose) as runner:
        for block in runner.results(runner.add_tasks(runner.begin_with(_blocks(cameras)), estimator)):
            rows += block.to_pylist()
            on_progress(f"estimated {len(rows)} of {counted(len(cameras), 'rig')}")
    rows.sort(key=lambda row: row["camera"])
    rigs = {row["camera"]: Rig.from_json(row["rig"]) for row in rows if row["rig"] is not None}
    refused = {row["camera"]: row["refused"] for row in rows if row["rig"] is None}
    return settle(rigs, refused, config.per), rows


def _blocks(cameras: Mapping[str, pa.Table]) -> list[pa.Table]:
    return [
        pairs.append_column(OF_A_CAMERA.field("camera"), pa.array([camera] * pairs.num_rows, pa.string()))
        for camera, pairs in cameras.items()
    ]


def _runner(config: FuseConfig, cameras: int, *, verbose: bool) -> AbstractContextManager[Runner]:
    if runs_inline(config.runner, None, None, CAMERA_IN_PAIRS * cameras):
        return InlineRunner()
    from pipelines.cluster.ray_cluster import Cluster  # imports Ray, which takes seconds

    return Cluster(verbose=verbose)
