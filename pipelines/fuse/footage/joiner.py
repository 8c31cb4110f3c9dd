"""The stage that joins the segments of recordings, shows a small video of each, and removes the segments."""

import json
from contextlib import suppress

import av
import pyarrow as pa

from pipelines.errors.failures import Row
from pipelines.fuse.destination import Destination
from pipelines.fuse.footage.concat import (
    about_uri,
    describe,
    frames_uri,
    is_whole,
    join_segments,
    joined_uri,
    preview_uri,
    segment_uri,
)
from pipelines.fuse.footage.config import FootageConfig
from pipelines.fuse.footage.encode import CONTAINERS
from pipelines.fuse.footage.preview import write_preview
from pipelines.fuse.footage.schemas import RECORDING_OUTCOME
from pipelines.fuse.footage.segment_files import remove_segments
from pipelines.storage import objects as storage
from pipelines.storage.names import check_inside
from pipelines.storage.scratch import scratch_folder


class Joiner:
    """Concatenates the fused segments of a recording; failed segments leave gaps."""

    def __init__(self, config: FootageConfig, destination: Destination) -> None:
        self.config, self.destination = config, destination

    def __call__(self, recordings: pa.Table) -> pa.Table:
        """Join a block of recordings, and write a description beside each."""
        rows = recordings.to_pylist()
        for row in rows:
            row |= {"error_code": None, "stopped": None}
            ids = [one["pair_id"] for one in row["segments"] if one["error_code"] is None]
            try:
                about = self._join(row, ids)
                write = (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()
                storage.write_bytes(about_uri(self.destination, row["recording"]), write)
                # A recording with a gap keeps them: --retry-failed fuses what is missing and joins it anew.
                if is_whole(about) and not self.config.keep_segments:
                    remove_segments(self.destination, self.config, ids)
            except OSError as error:
                row["stopped"] = storage.redact(f"{row['recording']} cannot be joined: {error}")
        return pa.Table.from_pylist(rows, RECORDING_OUTCOME)

    def _join(self, row: Row, ids: list[str]) -> Row:
        uri = joined_uri(self.destination, row["recording"], self.config)
        preview = preview_uri(self.destination, row["recording"])
        about = describe(row)
        if not ids:
            return about
        row["segments"] = [
            {
                "segment_uri": segment_uri(self.destination, name, self.config),
                "frames_uri": frames_uri(self.destination, name),
            }
            for name in ids
        ]
        with scratch_folder() as folder:
            file = folder / f"joined{CONTAINERS[self.config.video_codec]}"
            small = folder / "preview.mp4"
            try:
                check_inside(uri, self.destination.recordings)
                check_inside(preview, self.destination.previews)
                note = join_segments(file, row, about["origin_pts"], with_audio=self.config.audio == "copy")
            except (av.FFmpegError, ValueError) as error:
                row["error_code"] = "write_failed"
                reason = storage.redact(f"the segments cannot be joined: {type(error).__name__}: {error}")
                return about | {"note": reason}
            with suppress(av.FFmpegError):  # a page without a video is no reason to fail a recording
                write_preview(file, small)
                storage.move_here(preview, small)
            storage.move_here(uri, file)
        return about | {"uri": uri, "verified": True, "note": note}
