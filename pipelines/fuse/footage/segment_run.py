"""Fusing one segment of a recording: pairing its frames by time, fusing, measuring, encoding, summing up."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch

from pipelines.archive.rows import milliseconds_since
from pipelines.errors.failures import Row
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.alignment import SegmentAlignment
from pipelines.fuse.footage.container import RecordingError
from pipelines.fuse.footage.encode import Encoder
from pipelines.fuse.footage.frames import Frame, Source
from pipelines.fuse.footage.prefetch import BackgroundConsumer, in_groups, prefetch
from pipelines.fuse.footage.schemas import STABILITY
from pipelines.fuse.footage.sync import Paired, choose_frames, pair_by_time, tolerance
from pipelines.fuse.guide import Guide
from pipelines.fuse.schemas import SEGMENT_COUNTS, STAGES
from pipelines.rigs.register import Register, onto_canvas
from pipelines.storage.schema_version import SCHEMA_VERSION
from upfusion.cameras.pair_options import PairOptions
from upfusion.cameras.palettes import match_palette
from upfusion.cameras.sources import SideImage, SourceImage, to_side
from upfusion.color import ColorRule, Pixels
from upfusion.flicker import change_ratio, flicker
from upfusion.metrics import METRICS_VERSION, measure
from upfusion.registration.warp import RigWarp


class Ready(NamedTuple):
    """Two frames with the same time and size."""

    pts: int
    seconds: float
    b_seconds: float
    a: Pixels
    b: Pixels


class Network(Protocol):
    """What fuses the frames of segments (segment_actor.py), with the settings of the job."""

    config: FuseConfig
    options: PairOptions
    register: Register
    guide: Guide
    texts: dict[tuple[str, str | None], torch.Tensor]
    metrics: tuple[str, ...]
    model_name: str

    def frames_a_pass(self, height: int, width: int) -> int:
        """Return how many frames of one size form a batch."""

    def fuse_ready(self, ready: list[Ready], text_T: torch.Tensor, balance: float, color: ColorRule) -> list[Pixels]:
        """Fuse frames in one pass."""

    def luma8_of(self, images: Iterable[Pixels]) -> torch.Tensor:
        """Return lumas (N, 1, H, W) on the 0..255 scale."""


class SegmentRun:
    """The fusion of one segment."""

    def __init__(self, actor: Network, row: Row, a: Source, b: Source, file: Path) -> None:
        self.actor, self.config, self.row, self.a, self.b = actor, actor.config, row, a, b
        self.start = a.video.seconds_at(row["start_pts"])
        self.end = float("inf") if row["end_pts"] is None else a.video.seconds_at(row["end_pts"])
        self.pairing = Paired()
        self.text_T = actor.texts[row["task"], row["prompt"]]
        self.balance, self.color = actor.guide.balance_of(row), actor.guide.color_of(row)
        self.milliseconds = dict.fromkeys(STAGES, 0.0)
        codec, quality = self.config.video_codec, self.config.video_quality
        self.encoder = Encoder(file, codec, quality, a.video.time_base, a.video.rate, a.video.pixel_aspect)
        self.last: list[torch.Tensor] | None = None
        self.a_seen: float | None = None
        options = actor.options.of(row["recording"])
        self.options = {"a": options.a, "b": options.b}
        self.levels: dict[str, SideImage] = {}
        named = actor.register.warp_for(row["recording"], row["task"])
        self.rig: str | None = named[0] if named else None
        self.warp: RigWarp | None = named[1] if named else None
        self.size = (a.video.height, a.video.width) if self.warp is None else (self.warp.height, self.warp.width)
        self.alignments = SegmentAlignment(row["task"], actor.register.misaligned)
        self.none: dict[str, int] = defaultdict(int)

    def stream(self) -> list[Row]:
        """Fuse and encode all frames and return a row of each."""
        rows: list[Row] = []
        size = self.actor.frames_a_pass(*self.size)
        try:
            with (
                BackgroundConsumer(self._encode, 2 * size) as encoding,
                closing(prefetch(self._ready(), 2 * size)) as waiting,
            ):
                for group in in_groups(waiting, size):
                    for row, fused in self._fuse(group, len(rows)):
                        rows.append(row)
                        encoding.put((fused, row["pts"]))
            self.encoder.finish()
        finally:
            self.encoder.close()
        return rows

    def why_nothing(self) -> tuple[str, str]:
        """Return the error code and message for a segment without a fused frame."""
        video_a, video_b = self.a.video, self.b.video
        if self.pairing.unpaired:
            apart = 1000 * tolerance(video_a, video_b)
            ended = video_b.seconds
            ends = "" if ended is None else f"; with the offset B ends at {ended + self.offset:.2f} s"
            return "no_partner", (
                f"none of {self.pairing.unpaired} frames of A from {self.start:.2f} s on has a frame of B within "
                f"{apart:.0f} ms{ends}. Give the clock offset of B with --offset"
            )
        if not self.a.counts.ended and not self.a.counts.damaged:
            span = f"{self.start:.2f} s and {self.end:.2f} s"
            return "truncated_recording", f"{self.row['a_uri']}: it has no frame between {span}"
        return "truncated_recording", (
            f"{self.row['a_uri']}: no frame from {self.start:.2f} s on could be decoded: the file is damaged or ends "
            "there"
        )

    @property
    def offset(self) -> float:
        return float(self.row["offset_s"])

    def result(self, frames: list[Row]) -> Row:
        """Return the columns of a segment's row that summarise its frames."""
        video, counts = self.a.video, self._counts(frames)
        means = {name: _mean(frames, name) for name in (*self.actor.metrics, *STABILITY)}
        end = frames[-1]["seconds"] + video.interval if self.end == float("inf") else self.end
        return (
            {"width": self.size[1], "height": self.size[0], "model": self.actor.model_name}
            | {"rig": self.rig, "alignment": self.alignments.score}
            | counts
            | means
            | {"start_s": self.start, "end_s": end, "time_base": str(video.time_base), "rate": video.rate}
            | {f"{stage}_ms": spent for stage, spent in self.milliseconds.items()}
            | {"range_a": self.levels["a"].range, "range_b": self.levels["b"].range}
            | {"palette": self.levels["b"].palette}
            | {"metrics_version": METRICS_VERSION, "note": "; ".join(self._notes(counts)) or None}
        )

    def _counts(self, frames: list[Row]) -> dict[str, int]:
        found = vars(self.pairing) | {
            f"{side}_{what}": getattr(source.counts, what)
            for side, source in (("a", self.a), ("b", self.b))
            for what in ("repeated", "damaged")
        }
        if self.end != float("inf") and self.config.every == 1 and self.config.fps is None:
            found["a_dropped"] += self._lacking_at_end(self.end)
        found |= {"frames": len(frames), "measured": len(frames[:: self.config.metrics_every])}
        return {name: found[name] for name in SEGMENT_COUNTS}

    def _notes(self, counts: dict[str, int]) -> Iterator[str]:
        phrases = {
            "unpaired": "frames of A have no partner in B and are skipped",
            "a_dropped": "frames are missing in A",
            "b_dropped": "frames are missing in B",
            "a_repeated": "frames of A have no timestamp of their own and are skipped",
            "b_repeated": "frames of B have no timestamp of their own and are skipped",
            "a_damaged": "frames of A are damaged and skipped",
            "b_damaged": "frames of B are damaged and skipped",
        }
        yield from (f"{counts[name]} {words}" for name, words in phrases.items() if counts[name])
        yield from self.levels["b"].notes
        aspect = self.a.video.pixel_aspect
        if aspect != 1 and self.config.video_codec == "ffv1":  # PyAV cannot write it into mkv
            yield f"pixels of A are {aspect.numerator}:{aspect.denominator}, which the mkv does not say"
        yield from (f"{side} ends early: the file is damaged or cut short" for side in self._cut_short())
        yield from self.alignments.notes()
        if self.config.metrics_every and self.none:
            yield f"no {', '.join(self.none)} on some frames"

    def _cut_short(self) -> list[str]:
        sides = {"A": self.a.counts.cut_short, "B": self.b.counts.cut_short}
        end = self.a.video.seconds if self.end == float("inf") else self.end
        if end is not None and self.a.counts.ended and self._lacking_at_end(end) > 1:
            sides["A"] = True
        return [side for side, early in sides.items() if early]

    def _lacking_at_end(self, end: float) -> int:
        """Count the missing frames of A between the last one and the end of the segment."""
        return 0 if self.a_seen is None else max(0, round((end - self.a_seen) * self.a.video.rate) - 1)

    def _pairs(self) -> Iterator[tuple[Frame, Frame]]:
        a, b = self.a.video, self.b.video
        slack = tolerance(a, b)
        frames_a = choose_frames(self._seeing(), a, self.config.every, self.config.fps)
        frames_b = self.b.frames(max(0.0, self.start - self.offset - slack), self.end - self.offset + slack)
        rates = (min(a.rate, self.config.fps or a.rate / self.config.every), b.rate)
        return pair_by_time(frames_a, frames_b, self.offset, slack, rates, self.pairing)

    def _seeing(self) -> Iterator[Frame]:
        for frame in self.a.frames(self.start, self.end):
            self.a_seen = frame.seconds
            yield frame

    def _ready(self) -> Iterator[Ready]:
        pairs = self._pairs()
        while True:
            started = time.perf_counter()
            pair = next(pairs, None)
            if pair is None:
                return
            a, b = pair
            pixels_a, pixels_b = self._levels("a", a.read()), self._levels("b", b.read())
            if self.warp is not None:
                pixels_a, pixels_b = onto_canvas(self.warp, pixels_a, pixels_b)
            elif pixels_a.shape[:2] != pixels_b.shape[:2]:
                pixels_b = self._resized(pixels_b, pixels_a)
            self.alignments.see(pixels_a, pixels_b)
            self.milliseconds["decode"] += milliseconds_since(started)
            yield Ready(a.pts, a.seconds, b.seconds, pixels_a, pixels_b)

    def _levels(self, side: str, pixels: Pixels) -> Pixels:
        """Map a frame's values to grey levels, in the range of the archive, and in the palette of the first frame."""
        options = self.options[side]
        if options.palette == "auto":
            match = match_palette(pixels)
            options = replace(options, palette=match.name if match is not None and match.is_sure else "none")
            self.options[side] = options
        found = to_side(SourceImage(pixels), side.upper(), options)
        self.levels[side] = found
        return found.pixels

    def _resized(self, b: Pixels, a: Pixels) -> Pixels:
        (height, width), (b_height, b_width) = a.shape[:2], b.shape[:2]
        if self.config.resize != "b-to-a":
            raise RecordingError(
                "size_mismatch",
                f"frames of A are {width}x{height}, those of B {b_width}x{b_height} pixels. Where both show the same "
                "part of the scene, --resize b-to-a scales B's; otherwise estimate a rig with `upfusion align` and "
                "give it as --rig",
            )
        shrinks = width < b_width
        return cv2.resize(b, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)  # type: ignore[return-value]

    def _fuse(self, ready: list[Ready], position: int) -> Iterator[tuple[Row, Pixels]]:
        video = self.a.video
        if other := next((one for one in ready if one.a.shape[:2] != self.size), None):
            sizes = f"from {video.width}x{video.height} to {other.a.shape[1]}x{other.a.shape[0]}"
            raise RecordingError("size_mismatch", f"frames of A change size, {sizes} at {other.seconds:.2f} s")
        started = time.perf_counter()
        fused = self.actor.fuse_ready(ready, self.text_T, self.balance, self.color)
        self.milliseconds["fuse"] += milliseconds_since(started)
        started = time.perf_counter()
        values = self._measure(ready, fused, position)
        self.milliseconds["measure"] += milliseconds_since(started)
        for number, (one, image) in enumerate(zip(ready, fused, strict=True)):
            about = {"recording": self.row["recording"], "pair_id": self.row["pair_id"], "frame": position + number}
            about["schema_version"] = SCHEMA_VERSION
            times = {"pts": one.pts, "seconds": one.seconds, "b_seconds": one.b_seconds}
            yield about | times | {name: of_all[number] for name, of_all in values.items()}, image

    def _measure(self, ready: list[Ready], fused: list[Pixels], position: int) -> dict[str, list[float | None]]:
        """Measure every n-th frame, and the temporal change of all frames."""
        lumas = [self.actor.luma8_of(x) for x in ([one.a for one in ready], [one.b for one in ready], fused)]
        values: dict[str, list[float | None]] = {name: [None] * len(ready) for name in self.actor.metrics}
        chosen = [n for n in range(len(ready)) if (position + n) % self.config.metrics_every == 0]
        if chosen and self.actor.metrics:
            a, b, f = (x[chosen] for x in lumas)
            measured = measure(a, b, f, self.actor.metrics)
            for name, of_chosen in measured.items():
                for n, value in zip(chosen, of_chosen, strict=True):
                    values[name][n] = value
                    self.none[name] += value is None
            self.none = defaultdict(int, {name: count for name, count in self.none.items() if count})
        # The last frame of the previous batch comes first; the first frame of the segment has none.
        joined = lumas if self.last is None else [torch.cat([x, y]) for x, y in zip(self.last, lumas, strict=True)]
        missing: list[float | None] = [None] * (self.last is None)
        for name, function in (("flicker", flicker), ("change_ratio", change_ratio)):
            found = function(*joined).tolist()
            values[name] = missing + [value if np.isfinite(value) else None for value in found]
        self.last = [x[-1:] for x in lumas]
        return values

    def _encode(self, given: tuple[Pixels, int]) -> None:
        started = time.perf_counter()
        self.encoder.put(*given)
        self.milliseconds["encode"] += milliseconds_since(started)


def _mean(frames: list[Row], name: str) -> float | None:
    known = [frame[name] for frame in frames if frame[name] is not None]
    return float(np.mean(known)) if known else None
