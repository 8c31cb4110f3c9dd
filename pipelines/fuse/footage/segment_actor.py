"""The stage that fuses segments of recordings (segment_run.py), and writes the row of each."""

import time
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import torch

from pipelines.archive.load import AS_STORED, fetch_failure
from pipelines.archive.rows import milliseconds_since
from pipelines.errors.failures import Row, fail, mark_store_unavailable, write_rows_or_mark_lost
from pipelines.fuse.actor import FuseActor, is_out_of_memory
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.footage.concat import frames_uri, segment_uri
from pipelines.fuse.footage.container import RecordingError
from pipelines.fuse.footage.encode import CONTAINERS
from pipelines.fuse.footage.frames import Source, open_source
from pipelines.fuse.footage.schemas import frame_schema
from pipelines.fuse.footage.segment_run import Ready, SegmentRun
from pipelines.fuse.schemas import WRITTEN, output_schema
from pipelines.rigs.register import Register
from pipelines.storage import objects as storage
from pipelines.storage.names import check_inside
from pipelines.storage.parquet import write_table
from pipelines.storage.schema_version import SCHEMA_VERSION
from pipelines.storage.scratch import scratch_folder
from upfusion.cameras.pair_options import PairOptions
from upfusion.color import ColorRule, Pixels
from upfusion.images import ImageError
from upfusion.registration.rig import RigError

# Pixels of one pass: three frames of 1280x1024, dozens of a surveillance camera's.
PIXELS_A_PASS_GPU = 4_000_000


class _StoreError(Exception):
    """Writing to the destination failed with `error`."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class SegmentActor(FuseActor):
    """One copy of the network: fuses one segment after the other, holding a few frames at a time."""

    def __init__(
        self,
        config: FuseConfig,
        model: str,
        options: PairOptions = AS_STORED,
        register: Register | None = None,
        **network: Any,
    ) -> None:
        super().__init__(
            metrics=config.metrics, precision=config.precision, tiles=config.tiles, guide=config.guide, **network
        )
        self.config = config
        self.options = options
        self.register = register or Register(misaligned=config.misaligned)
        self.model_name = model
        self.destination = Destination(config.destination)

    def __call__(self, segments: pa.Table) -> pa.Table:
        """Fuse the segments of a block, write their results and return the outcome of each."""
        rows = [self._finish(row) for row in segments.to_pylist()]

        def put(kept: list[Row]) -> None:
            self.destination.write_pairs(pa.Table.from_pylist(kept, output_schema(self.config.metrics)))

        return pa.Table.from_pylist(write_rows_or_mark_lost(rows, put, self.destination.uri), WRITTEN)

    def _finish(self, row: Row) -> Row:
        if row["error_code"] is None:
            try:
                with scratch_folder() as folder:
                    row |= self._fuse_segment(row, folder)
            except _StoreError as error:
                mark_store_unavailable(row, self.destination.uri, error.error)
            except (RecordingError, ImageError) as error:
                fail(row, error.code, str(error))
            except RigError as error:
                fail(row, "rig_mismatch", str(error))
            except av.FFmpegError as error:  # errors of reading are handled where frames are read
                fail(row, "write_failed", f"the fused frames cannot be encoded: {error}")
            except OSError as error:
                fail(row, *fetch_failure(error.filename or row["a_uri"], error))
            except Exception as error:
                if "CUDA error" in str(error) and not is_out_of_memory(error):
                    raise  # the device is unusable for this process
                fail(row, "out_of_memory" if is_out_of_memory(error) else "fuse_failed", _reason_of(error))
        row["status"] = "ok" if row["error_code"] is None else "failed"
        row["prompt"] = row["prompt"] or self.config.prompt
        row["balance"] = self.guide.balance_of(row)
        row["schema_version"] = SCHEMA_VERSION
        return row

    def _fuse_segment(self, row: Row, folder: Path) -> Row:
        file = folder / f"segment{CONTAINERS[self.config.video_codec]}"
        with _opened(row["a_uri"], self.config) as a, _opened(row["b_uri"], self.config) as b:
            run = SegmentRun(self, row, a, b, file)
            frames = run.stream()
            if not frames:
                raise RecordingError(*run.why_nothing())
            run.alignments.check()
            row = row | run.result(frames)
        started = time.perf_counter()
        uri = segment_uri(self.destination, row["pair_id"], self.config)
        rows_uri = frames_uri(self.destination, row["pair_id"])
        check_inside(uri, self.destination.segments)
        check_inside(rows_uri, self.destination.frames)
        try:
            write_table(rows_uri, pa.Table.from_pylist(frames, frame_schema(self.metrics)))
            storage.move_here(uri, file)
        except OSError as error:
            raise _StoreError(error) from error
        encode_ms = row["encode_ms"] + milliseconds_since(started)
        kept = uri if self.config.keep_segments else None  # no row names a file that will be removed
        return row | {"segment_uri": kept, "frames_uri": rows_uri, "encode_ms": encode_ms}

    def frames_a_pass(self, height: int, width: int) -> int:
        """Return how many frames of one size form a batch; a CPU gains nothing from several."""
        most = PIXELS_A_PASS_GPU // (height * width) if self.memory else 1
        return max(1, min(most, self.pairs_a_pass.get((height, width), most)))

    def fuse_ready(self, ready: list[Ready], text_T: torch.Tensor, balance: float, color: ColorRule) -> list[Pixels]:
        """Fuse frames in one pass; out of memory halves the batch, also for later passes."""
        a, b = [one.a for one in ready], [one.b for one in ready]
        try:
            count = len(ready)
            return self.fuser.fuse_batch(a, b, text_T.expand(count, -1), [balance] * count, [color] * count)
        except Exception as error:
            if len(ready) == 1 or not is_out_of_memory(error):
                raise
        # Here, not in the except block: the exception keeps the memory of the attempt alive.
        half = len(ready) // 2
        height, width = ready[0].a.shape[:2]
        self.pairs_a_pass[height, width] = half
        if self.memory:
            self.memory.release()
        parts = ready[:half], ready[half:]
        return [image for part in parts for image in self.fuse_ready(part, text_T, balance, color)]


def _opened(uri: str, config: FuseConfig) -> Any:
    """Open a source; its errors become RecordingErrors that name it."""
    return _Naming(uri, config)


class _Naming:
    def __init__(self, uri: str, config: FuseConfig) -> None:
        self._uri = uri
        self._source = open_source(uri, config.max_pixels, config.frame_rate)

    def __enter__(self) -> Source:
        try:
            return self._source.__enter__()
        except RecordingError as error:
            raise RecordingError(error.code, f"{self._uri}: {error}") from error
        except OSError as error:
            raise RecordingError(*fetch_failure(self._uri, error)) from error

    def __exit__(self, *about: Any) -> None:
        self._source.__exit__(*about)


def _reason_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
