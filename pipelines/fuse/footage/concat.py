"""Concatenating the fused segments of a recording without re-encoding, with the timestamps of A's frames."""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet

from pipelines.errors.failures import Row
from pipelines.fuse.destination import Destination
from pipelines.fuse.footage.config import FootageConfig
from pipelines.fuse.footage.container import BLOCK, READ
from pipelines.fuse.footage.encode import CONTAINERS
from pipelines.storage import objects as storage
from pipelines.storage.names import image_name
from pipelines.storage.parquet import read_table


def describe(row: Row) -> Row:
    """Describe a recording: its sources, and which spans of A's time are missing and why, in seconds."""
    segments, time_base = row["segments"], Fraction(row["time_base"] or 1)
    origin = segments[0]["start_pts"] or 0

    def seconds(pts: int | None) -> float | None:
        return None if pts is None or row["time_base"] is None else round(float((pts - origin) * time_base), 6)

    missing = [
        {"from": seconds(one["start_pts"]), "to": seconds(one["end_pts"]), "error_code": one["error_code"]}
        for one in segments
        if one["error_code"] is not None
    ]
    kept = ("recording", "a_uri", "b_uri", "offset_s", "offset_confidence", "time_base", "rate", "frames")
    return {name: row[name] for name in kept} | {
        "segments": len(segments),
        "missing": missing,
        "origin_pts": origin,
        "uri": None,
        "verified": False,
        "note": None,
    }


def is_whole(about: Row) -> bool:
    """Tell from a description whether a recording is joined without a gap, and was read back."""
    return bool(about["uri"] and about.get("verified") and not about["missing"])


def joined_uri(destination: Destination, recording: str, config: FootageConfig) -> str:
    """Return the URI of the fused recording of a pair of recordings."""
    return storage.join(destination.recordings, image_name(recording, CONTAINERS[config.video_codec]))


def about_uri(destination: Destination, recording: str) -> str:
    """Return the URI of a fused recording's description; it is written after the recording."""
    return storage.join(destination.recordings, image_name(recording, ".json"))


def preview_uri(destination: Destination, recording: str) -> str:
    """Return the URI of the small video that the report shows of a recording."""
    return storage.join(destination.previews, image_name(recording, ".mp4"))


def segment_uri(destination: Destination, pair_id: str, config: FootageConfig) -> str:
    """Return the URI of a fused segment."""
    return storage.join(destination.segments, image_name(pair_id, CONTAINERS[config.video_codec]))


def frames_uri(destination: Destination, pair_id: str) -> str:
    """Return the URI of the rows of a segment's frames."""
    return storage.join(destination.frames, image_name(pair_id, ".parquet"))


def join_segments(file: Path, row: Row, origin: int, *, with_audio: bool) -> str | None:
    """Write one recording from `row["segments"]` (`segment_uri`, `frames_uri`, in order of time).

    Packets get the times of A's frames, in `row["time_base"]` (a text such as 1/12800), so that `origin` becomes 0.
    The file is read back, and raises ValueError unless it has exactly the frames of the segments. Returns a note if the
    audio could not be kept.
    """
    time_base, note = Fraction(row["time_base"]), None
    written = Frames()
    options = {"movie_timescale": str(time_base.denominator)} if file.suffix == ".mp4" else {}
    with ExitStack() as stack:
        output = stack.enter_context(
            av.open(str(file), "w", options={"fflags": "+bitexact"}, container_options=options)
        )
        source = stack.enter_context(_open(stack, row["segments"][0]["segment_uri"]))
        video = source.streams.video[0]
        stream = output.add_stream_from_template(video)
        stream.time_base = time_base
        if video.average_rate:  # otherwise missing in mkv
            stream.codec_context.framerate = video.average_rate
        audio = None
        if with_audio and not row["a_uri"].endswith("/"):
            audio, note = _audio(stack, output, row["a_uri"], origin)
        for packet in _video_info(row, time_base, origin):
            at = float(packet.pts * time_base) if packet.pts is not None else 0.0
            if audio is not None:
                for audio_packet in audio.until(at):
                    output.mux(audio_packet)
            written.add(packet)
            packet.stream = stream
            output.mux(packet)
        if audio is not None:
            for audio_packet in audio.until(float("inf")):
                output.mux(audio_packet)
    check_frames(file, written)
    return note


def check_frames(file: Path, expected: "Frames") -> None:
    """Read a joined recording back; raises ValueError unless it has exactly these encoded frames."""
    found = Frames()
    with av.open(str(file)) as joined:
        for packet in joined.demux(video=0):
            found.add(packet)
    if found != expected:
        raise ValueError(f"expected {expected.count} frames as in the segments, and the joined file has {found.count}")


@dataclass
class Frames:
    """What is compared of encoded frames: how many there are, and a checksum of all their bytes."""

    count: int = 0
    checksum: int = 0

    def add(self, packet: Packet) -> None:
        if packet.size:
            self.count += 1
            self.checksum = zlib.crc32(bytes(packet), self.checksum)


def _open(stack: ExitStack, uri: str) -> InputContainer:
    return av.open(stack.enter_context(storage.open_to_read(uri, BLOCK)), "r", options=dict(READ))


def _video_info(row: Row, time_base: Fraction, origin: int) -> Iterator[Packet]:
    """Yield the packets of all segments, each with the timestamp of its frame and a duration up to the next one."""
    held: Packet | None = None
    usual = max(1, round(1 / (row["rate"] * time_base)))
    for segment in row["segments"]:
        times = read_table(segment["frames_uri"], ["pts"])["pts"].to_pylist()
        with ExitStack() as stack:
            container = stack.enter_context(_open(stack, segment["segment_uri"]))
            packets = (packet for packet in container.demux(video=0) if packet.size)
            for pts, packet in zip(times, packets, strict=True):
                packet.pts = packet.dts = pts - origin
                packet.time_base = time_base
                if held is not None:
                    assert held.pts is not None
                    held.duration = packet.pts - held.pts
                    yield held
                packet.duration = usual
                held = packet
    if held is not None:
        yield held


class _AudioSource:
    """The audio of A, read up to a given time, so that it is interleaved with the video."""

    def __init__(self, container: InputContainer, stream: Any, output_stream: Any, zero: float) -> None:
        self._packets = (packet for packet in container.demux(stream) if packet.size and packet.pts is not None)
        self._stream = output_stream
        self._shift = round(zero / stream.time_base)
        self._held: Packet | None = None

    def until(self, seconds: float) -> Iterator[Packet]:
        while True:
            packet = self._held if self._held is not None else next(self._packets, None)
            self._held = None
            if packet is None:
                return
            if packet.stream is not self._stream:
                packet.pts -= self._shift
                packet.dts = packet.pts
                packet.stream = self._stream
                if packet.pts < 0:
                    continue
            if float((packet.pts or 0) * packet.time_base) > seconds:
                self._held = packet
                return
            yield packet


def _audio(stack: ExitStack, output: Any, uri: str, origin: int) -> tuple[_AudioSource | None, str | None]:
    """Open A's audio stream, if it has one and the container supports its codec."""
    try:
        container = stack.enter_context(_open(stack, uri))
        if not container.streams.audio:
            return None, None
        recorded = container.streams.audio[0]
        name = recorded.codec_context.name if recorded.codec_context else "an unknown codec"
        if name not in output.supported_codecs:
            return None, f"the audio of A ({name}) does not fit into {output.format.name} and was dropped"
        stream = output.add_stream_from_template(recorded)
    except (av.FFmpegError, OSError, ValueError) as error:
        return None, f"the audio of A was dropped ({type(error).__name__}: {error})"
    video = container.streams.video[0]
    return _AudioSource(container, recorded, stream, float(origin * Fraction(video.time_base or 0))), None
