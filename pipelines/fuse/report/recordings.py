"""The recordings in a report: a strip of frames, metrics over time, and the worst moments with their sources."""

import base64
import io
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pipelines.errors.failures import Row
from pipelines.fuse.destination import Destination
from pipelines.fuse.footage.concat import about_uri, frames_uri, joined_uri, preview_uri, segment_uri
from pipelines.fuse.footage.config import FootageConfig
from pipelines.fuse.footage.frames import open_source
from pipelines.fuse.footage.preview import SECONDS as PREVIEW_SECONDS
from pipelines.fuse.report.sources import FusedSources
from pipelines.storage import objects as storage
from pipelines.storage.parquet import read_as
from upfusion.color import Pixels
from upfusion.image_guard import PILLOWS_LIMIT
from upfusion.images import to_8_bits

RECORDINGS_SHOWN = 6
STRIP, WORST = 8, 3
STRIP_SIDE, WORST_SIDE = 240, 420  # pixels
TIME_ROUNDING = 1.5e-3  # seconds: mkv keeps whole milliseconds
POINTS = 240
WIDTH, HEIGHT = 900.0, 80.0  # of a chart, in SVG units


@dataclass(frozen=True)
class Moment:
    """A fused frame: its segment, and its position there."""

    pair_id: str
    frame: int
    seconds: float
    b_seconds: float
    value: float


def show_recordings(
    destination: Destination, run: Row, rows: pa.Table, headline: str | None, sources: FusedSources
) -> dict[str, Any]:
    """Return what the page shows: of all recordings how many there are, of the worst ones (by headline) everything.

    `rows` has the columns `recording`, `pair_id`, `status`, and one of the headline.
    """
    segments: dict[str, list[Row]] = defaultdict(list)
    columns = ["recording", "pair_id", "status", *([headline] if headline else [])]
    for row in rows.filter(pc.is_valid(rows["recording"])).select(columns).sort_by("pair_id").to_pylist():
        segments[row["recording"]].append(row)

    def mean(name: str) -> float:
        values = [row[headline] for row in segments[name] if headline and row[headline] is not None]
        return float(np.mean(values)) if values else float("inf")

    chosen = sorted(segments, key=lambda name: (mean(name), name))[:RECORDINGS_SHOWN]
    settings = run["config"]
    config = FootageConfig.model_validate({k: v for k, v in settings.items() if k in FootageConfig.model_fields})
    show = _Shown(destination, config, settings.get("frame_rate"), headline, sources)
    shown = [show(name, segments[name]) for name in chosen]
    return {
        "count": len(segments),
        "shown": shown,
        "headline": headline,
        "plot": (WIDTH, HEIGHT),
        "preview_seconds": PREVIEW_SECONDS,
    }


@dataclass(frozen=True)
class _Fused:
    """A joined recording, and the moment of its first frame in seconds of A."""

    uri: str | None
    zero: float


class _Shown:
    """Builds one recording's part of the page."""

    def __init__(
        self,
        destination: Destination,
        config: FootageConfig,
        frame_rate: float | None,
        headline: str | None,
        sources: FusedSources,
    ) -> None:
        self.destination, self.config, self.frame_rate = destination, config, frame_rate
        self.headline, self.sources = headline, sources

    def __call__(self, name: str, segments: list[Row]) -> Row:
        about = self._about(name)
        fused = [row["pair_id"] for row in segments if row["status"] == "ok"]
        frames = self._frames(fused)
        missing = about.get("missing", [])
        link = self._link(about)
        # Not the URI of the description: others may have written it.
        joined = joined_uri(self.destination, name, self.config) if about.get("uri") else None
        fused_at = _Fused(joined, frames[0]["seconds"] if frames else 0.0)
        charts = [chart for column in (self.headline, "flicker") if column for chart in self._chart(frames, column)]
        strip = [self._still(moment, link, fused_at) for moment in _spread(frames, STRIP)]
        worst: list[dict[str, Any]] = [
            {"title": title, "moments": [self._sources(moment, about, link, fused_at) for moment in moments]}
            for title, moments in self._worst(frames)
        ]
        boards = next((moment.pop("boards") for group in worst for moment in group["moments"]), None)
        kept = {
            "boards": boards,
            "name": name,
            "segments": len(segments),
            "failed": len(segments) - len(fused),
            "frames": len(frames),
        }
        return kept | {
            "about": about,
            "video": self._video(name),
            "missing": missing,
            "link": link,
            "charts": charts,
            "strip": strip,
            "worst": worst,
        }

    def _about(self, name: str) -> Row:
        try:
            found: Row = json.loads(storage.read_bytes(about_uri(self.destination, name)))
        except (OSError, ValueError):  # not joined yet
            return {}
        return found

    def _link(self, about: Row) -> str | None:
        """Return the relative link from the page to the recording."""
        uri = about.get("uri")
        if not isinstance(uri, str) or not uri.startswith(self.destination.uri + "/"):
            return None
        return quote(uri[len(self.destination.uri) + 1 :])

    def _frames(self, pair_ids: list[str]) -> list[Row]:
        names = ["pair_id", "frame", "seconds", "b_seconds", "flicker", *([self.headline] if self.headline else [])]
        kinds = {"pair_id": pa.string(), "frame": pa.int32()}
        schema = pa.schema([pa.field(name, kinds.get(name, pa.float64())) for name in names])
        tables = []
        for pair_id in pair_ids:
            try:
                tables.append(read_as(frames_uri(self.destination, pair_id), schema))
            except OSError:
                continue  # deleted meanwhile
        return pa.concat_tables([schema.empty_table(), *tables]).to_pylist()

    def _chart(self, frames: list[Row], column: str) -> list[Row]:
        known = [(row["seconds"], row[column]) for row in frames if row[column] is not None]
        if len(known) < 2:
            return []
        times, values = np.array(known).T
        span = max(frames[-1]["seconds"], 1e-9)
        # Every point is the worst value of its interval: short flicker must not be averaged away.
        cells = np.minimum((times / span * POINTS).astype(int), POINTS - 1)
        worst = np.min if column == self.headline else np.max
        points = [(times[cells == cell].mean(), worst(values[cells == cell])) for cell in np.unique(cells)]
        low, high = (0.0 if column == "flicker" else float(values.min())), float(values.max())
        scale = max(high - low, 1e-6)
        placed = [(x / span * WIDTH, (1 - (y - low) / scale) * HEIGHT) for x, y in points]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
        label = f"{column}, lowest {values.min():.3g}, mean {values.mean():.3g}, highest {values.max():.3g}"
        return [{"name": column, "path": path, "low": low, "high": high, "seconds": float(span), "label": label}]

    def _worst(self, frames: list[Row]) -> list[tuple[str, list[Moment]]]:
        found = []
        if self.headline:
            found.append((f"Lowest {self.headline}", _extreme(frames, self.headline, 1)))
        found.append(("Most flicker", _extreme(frames, "flicker", -1)))
        return [(title, moments) for title, moments in found if moments]

    def _video(self, name: str) -> str | None:
        """Return the small video of a joined recording as a data URI."""
        try:
            data = storage.read_bytes(preview_uri(self.destination, name))
        except OSError:  # not joined yet, or by an earlier version
            return None
        return f"data:video/mp4;base64,{base64.b64encode(data).decode()}"

    def _still(self, moment: Moment, link: str | None, fused_at: _Fused) -> Row:
        shown = self._fused(moment, fused_at)
        picture = _picture(shown, STRIP_SIDE) if shown is not None else None
        return {"seconds": moment.seconds, "picture": picture, "link": _at(link, moment)}

    def _sources(self, moment: Moment, about: Row, link: str | None, fused_at: _Fused) -> Row:
        a = self._source(about.get("a_uri"), moment.seconds)
        b = self._source(about.get("b_uri"), moment.b_seconds)
        name = about.get("recording", "")
        boards = None if a is None or b is None else self.sources.boards(name, a, b)
        a, b = self.sources.frames(name, a, b)
        pictures = {"A": a, "B": b, "F": self._fused(moment, fused_at)}
        shown = {key: None if pixels is None else _picture(pixels, WORST_SIDE) for key, pixels in pictures.items()}
        return {
            "seconds": moment.seconds,
            "value": moment.value,
            "pictures": shown,
            "boards": boards,
            "link": _at(link, moment),
        }

    def _fused(self, moment: Moment, fused_at: _Fused) -> Pixels | None:
        if fused_at.uri is None:  # not joined, as in an unfinished job
            return self._read(segment_uri(self.destination, moment.pair_id, self.config), 0.0, moment.frame)
        return self._read(fused_at.uri, moment.seconds - fused_at.zero, tolerance=TIME_ROUNDING)

    def _source(self, uri: str | None, seconds: float) -> Pixels | None:
        return self._read(uri, seconds) if uri is not None and self.sources.may_read(uri) else None

    def _read(self, uri: str, seconds: float, number: int = 0, tolerance: float | None = None) -> Pixels | None:
        """Read the frame shown at a moment, or the `number`-th after it; None where that is no longer possible."""
        try:
            with open_source(uri, PILLOWS_LIMIT, self.frame_rate) as source:
                early = source.video.interval / 2 if tolerance is None else tolerance
                frames = source.frames(max(0.0, seconds - early), float("inf"))
                return next((frame.read() for n, frame in enumerate(frames) if n == number), None)
        except Exception:  # noqa: BLE001 - whatever a store or a decoder raises, the page says that it is gone
            return None


def _spread(frames: list[Row], count: int) -> list[Moment]:
    if not frames:
        return []
    places = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    return [_moment(frames[place], 0.0) for place in places]


def _extreme(frames: list[Row], column: str, sign: int) -> list[Moment]:
    """Choose the worst moments, at least a second apart."""
    chosen: list[Moment] = []
    for row in sorted((row for row in frames if row[column] is not None), key=lambda row: sign * row[column]):
        if all(abs(row["seconds"] - other.seconds) >= 1 for other in chosen):
            chosen.append(_moment(row, row[column]))
        if len(chosen) == WORST:
            break
    return chosen


def _moment(row: Row, value: float) -> Moment:
    return Moment(row["pair_id"], row["frame"], row["seconds"], row["b_seconds"], value)


def _at(link: str | None, moment: Moment) -> str | None:
    # A media fragment: players start there.
    return None if link is None else f"{link}#t={moment.seconds:.2f}"


def _picture(pixels: Pixels, side: int) -> Row:
    image = Image.fromarray(np.asarray(to_8_bits(pixels)))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=82, optimize=True)
    return {"src": f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}", "size": image.size}
