"""Cutting recordings into segments: the rows of the manifest that a job fuses and retries."""

from dataclasses import dataclass

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipelines.archive.load import fetch_failure
from pipelines.errors.failures import Row
from pipelines.errors.redaction import redact
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.container import RecordingError, VideoInfo
from pipelines.fuse.footage.frames import Recording, Source, open_source
from pipelines.fuse.footage.sync import LEAST_CONFIDENCE, Offset, estimate_offset, motion_energy, tolerance

# A cut moves to a key frame up to this many nominal lengths after the last cut; otherwise frames are decoded up to it.
LONGEST_FOR_A_KEY = 2.0
FEWEST_FRAMES = 4  # frames of a segment, so that the last segment has some
SHORTEST_LAST = 0.5  # of a nominal length; a shorter rest belongs to the previous segment
Failure = tuple[str, str]


@dataclass(frozen=True)
class Cut:
    """The segments of one recording, or a single row with the reason why there are none."""

    rows: list[Row]
    failure: Failure | None = None


def cut_recording(pair: Row, config: FuseConfig) -> Cut:
    """Cut a pair of recordings, reading only their indexes (and some video for `--offset auto`)."""
    whole = pair | {"recording": pair["pair_id"]}
    uri = pair["a_uri"]
    try:
        with open_source(pair["a_uri"], config.max_pixels, config.frame_rate) as a:
            uri = pair["b_uri"]
            with open_source(pair["b_uri"], config.max_pixels, config.frame_rate) as b:
                uri = pair["a_uri"]
                return Cut(_cut(whole, a, b, config))
    except RecordingError as error:
        code, sentence = error.code, f"{uri}: {error}"
    except OSError as error:
        code, sentence = fetch_failure(uri, error)
    except Exception as error:  # noqa: BLE001  # whatever a damaged file does to FFmpeg or Pillow
        code = getattr(error, "code", "truncated_recording")
        sentence = f"{uri}: {type(error).__name__}: {error}"
    return Cut([whole], (code, redact(sentence)))


def find_offset(a: Source, b: Source, config: FuseConfig) -> Offset:
    """Return by how much B's clock started later: as given, or estimated from motion; raises RecordingError."""
    if config.offset_seconds is not None:
        return Offset(config.offset_seconds, 1.0)
    interval = min(a.video.interval, b.video.interval)
    found = estimate_offset(motion_energy(a), motion_energy(b), interval)
    if found is None or found.confidence < LEAST_CONFIDENCE:
        finding = (
            "no motion common to both" if found is None else f"{found.seconds:+.2f} s, but with a confidence of only "
        )
        finding += "" if found is None else f"{found.confidence:.2f} (at least {LEAST_CONFIDENCE} is needed)"
        raise RecordingError("not_synchronised", f"--offset auto found {finding}; give it explicitly: --offset SECONDS")
    return found


def segment_id(recording: str, number: int) -> str:
    """Return the id of a segment; ids sort by time."""
    return f"{recording}/segment_{number:05d}"


def cut_times(video: VideoInfo, keys: list[int], nominal: float) -> list[int]:
    """Return the segment starts in the video's time base: at key frames if known, else at equal intervals."""
    keys = sorted(key for key in keys if key > video.zero)
    end = None if video.seconds is None else video.pts_at(video.seconds)
    length = max(1, int(max(nominal, FEWEST_FRAMES * video.interval) / video.time_base))
    cuts, position = [video.zero], 0
    if end is None:  # unknown duration
        return cuts
    while (wanted := cuts[-1] + length) < end - SHORTEST_LAST * length:
        while position < len(keys) and keys[position] < wanted - length // 4:
            position += 1
        near = keys[position] if position < len(keys) else None
        if keys and (near is None or near >= end):
            break  # the rest is a single group of pictures
        cuts.append(near if near is not None and near <= cuts[-1] + LONGEST_FOR_A_KEY * length else wanted)
    if len(cuts) > 1 and end - cuts[-1] < SHORTEST_LAST * length:
        cuts.pop()
    return cuts


def _cut(whole: Row, a: Source, b: Source, config: FuseConfig) -> list[Row]:
    offset = find_offset(a, b, config)
    keys = _key_frames(a) if isinstance(a, Recording) else []
    cuts = _within(cut_times(a.video, keys, config.segment_seconds), a.video, b.video, offset.seconds)
    ends = [*cuts[1:], None]
    about = {
        "offset_s": offset.seconds,
        "offset_confidence": offset.confidence if config.offset_seconds is None else None,
    }
    return [
        whole | about | {"pair_id": segment_id(whole["recording"], number), "start_pts": start, "end_pts": end}
        for number, (start, end) in enumerate(zip(cuts, ends, strict=True))
    ]


def _within(cuts: list[int], a: VideoInfo, b: VideoInfo, offset: float) -> list[int]:
    """Drop cuts before B begins and after it ends: those parts of A belong to its first and last segment."""
    slack = tolerance(a, b)
    kept = [
        start
        for start, end in zip(cuts, [*cuts[1:], None], strict=True)
        if (end is None or a.seconds_at(end) > offset - slack)
        and (b.seconds is None or a.seconds_at(start) < b.seconds + offset + slack)
    ]
    return [cuts[0], *kept[1:]]


def _key_frames(recording: Recording) -> list[int]:
    """Read the timestamps of key frames from a container's index; empty without one."""
    container, stream = recording.container, recording.stream
    if container.format.name == "mpegts":
        return []
    try:
        container.seek(recording.video.zero, stream=stream)  # mkv reads its index lazily
        keys = [entry.timestamp for entry in stream.index_entries if entry.is_keyframe]
        shift = _shown_after_stored(container, stream)
        return [key + shift for key in keys]
    except av.FFmpegError:
        return []


def _shown_after_stored(container: InputContainer, stream: VideoStream) -> int:
    """The delay between decoding and presentation: indexes of mp4 and avi hold decoding times."""
    if container.format.name.startswith("matroska"):
        return 0
    first = next(container.demux(stream), None)
    if first is None or first.pts is None or first.dts is None:
        return 0
    return first.pts - first.dts
