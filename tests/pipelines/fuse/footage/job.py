"""What a job does with a pair of recordings, one step after the other, without Ray."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.checkpoints.fusion_method import CheckpointMethod
from pipelines.errors.failures import FAILURE
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.footage.concat import about_uri
from pipelines.fuse.footage.graph import _to_join
from pipelines.fuse.footage.joiner import Joiner
from pipelines.fuse.footage.schemas import TO_JOIN
from pipelines.fuse.footage.segment_actor import SegmentActor
from pipelines.fuse.footage.segments import cut_recording
from pipelines.fuse.schemas import JOB_MANIFEST
from pipelines.storage import objects as storage
from pipelines.storage.parquet import read_table
from upfusion.checkpoint import EMBEDDED

TINY = CheckpointMethod.parse((EMBEDDED / "tiny.safetensors").read_bytes())
TEXTS = {("ir_visible", None): TINY.checkpoint.prompts["ir_visible"].embedding.tolist()}


class Job:
    """Cut, fuse and join a pair of recordings as the graph does."""

    def __init__(self, out: Path, **settings: Any) -> None:
        settings = {"metrics": "en", "segment_seconds": 0.35, **settings}
        self.config = FuseConfig(source="in", out=str(out), **settings)
        self.destination = Destination(str(out))
        self.actor = SegmentActor(self.config, "tiny", method=TINY, texts=TEXTS, threads=1, on_gpu=False)

    def cut(self, a: object, b: object) -> list[dict]:
        pair = {"pair_id": "cam", "a_uri": str(a), "b_uri": str(b), "task": "ir_visible", "prompt": None}
        one = cut_recording(pair, self.config)
        code, error = one.failure or (None, None)
        return [row | {"error_code": code, "error": error} for row in one.rows]

    def fuse(self, segments: list[dict]) -> list[dict]:
        for segment in segments:
            self.actor(pa.Table.from_pylist([segment], pa.schema([*JOB_MANIFEST, *FAILURE])))
        rows = pa.concat_tables(read_table(uri) for uri in self.destination.pair_files()).to_pylist()
        return sorted(rows, key=lambda row: row["pair_id"])

    def join(self, rows: list[dict]) -> dict:
        joiner = Joiner(self.config, self.destination)
        (told,) = joiner(pa.Table.from_pylist([_to_join(rows)], TO_JOIN)).to_pylist()
        assert (told["error_code"], told["stopped"]) == (None, None)
        return json.loads(storage.read_bytes(about_uri(self.destination, "cam")))

    def run(self, a: object, b: object) -> tuple[list[dict], dict]:
        rows = self.fuse(self.cut(a, b))
        return rows, self.join(rows)
