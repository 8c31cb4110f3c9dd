"""The stage that estimates rigs: a block of a camera's pairs in, its rig out, with what the page shows of it."""

import json
from typing import Any

import pyarrow as pa

from pipelines.align.config import AlignConfig
from pipelines.align.page import describe_camera
from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.rig_frames import sample_pairs
from pipelines.rigs.estimate import estimate_rig_of
from upfusion.registration.rig import RigError

OF_A_CAMERA = pa.schema([*MANIFEST_SCHEMA, pa.field("camera", pa.string())])
"""A pair that a rig is estimated from; a block has those of one camera."""

ESTIMATED = pa.schema([(name, pa.string()) for name in ("camera", "rig", "shown", "refused")])
"""A camera: its rig and what the page shows of it, as JSON, or why it has none."""


class RigEstimator:
    """Reads the pairs of a camera and estimates its rig: about 10 s on one core, and 100 MB, for 32 pairs."""

    def __init__(self, config: AlignConfig) -> None:
        # Recordings need the settings of a fuse job.
        names = ("source", "frame_rate", "offset", "max_pixels")
        self.settings = FuseConfig(out=config.out, **{name: getattr(config, name) for name in names})
        self.count = config.pairs

    def __call__(self, pairs: pa.Table) -> pa.Table:
        """Return the row of the camera (ESTIMATED) whose pairs (OF_A_CAMERA) a block holds."""
        row: dict[str, Any] = {"camera": pairs["camera"][0].as_py()}
        viewed = sample_pairs(pairs, self.settings, self.count)
        try:
            rig = estimate_rig_of(viewed)
            row |= {"rig": rig.to_json(), "shown": json.dumps(describe_camera(rig, viewed))}
        except RigError as error:
            row["refused"] = str(error)
        return pa.Table.from_pylist([row], ESTIMATED)
