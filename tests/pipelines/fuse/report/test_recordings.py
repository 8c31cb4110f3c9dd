"""What the report shows of recordings."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.fuse.footage.frames import open_source
from pipelines.fuse.report import recordings
from pipelines.fuse.report.page import write_report
from tests.pipelines.fuse.footage.job import Job
from tests.recordings import write_pair


class Page(HTMLParser):
    """The pictures, links and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.alts, self.links, self.words, self.videos = [], [], [], []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "img":
            assert given["src"].startswith("data:image/jpeg;base64,")
            self.alts.append(given["alt"])
        if tag == "video":
            self.videos.append(given["src"])
        if tag == "a":
            self.links.append(given["href"])

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Job:
    """A recording of five segments, one of which failed."""
    folder = tmp_path_factory.mktemp("report")
    a, b = write_pair(folder / "in", seconds=1.6, gop=8)
    job = Job(folder / "out", metrics="vif", metrics_every=2)
    segments = job.cut(a, b)
    segments[3] |= {"error_code": "fuse_failed", "error": "for this test"}
    rows = job.fuse(segments)
    job.join(rows)
    config = job.config.model_dump(mode="json")
    (folder / "out" / "run.json").write_text(json.dumps({"digest": "x", "result": {}, "config": config}))
    return job


def page_of(job: Job, **options) -> Page:
    write_report(job.destination.uri, **options)
    return Page(Path(job.destination.report).read_text(encoding="utf-8"))


def test_a_recording_is_a_strip_of_frames_with_metrics_over_time_and_its_worst_moments(job):
    page = page_of(job)
    assert re.search(r"\b32\b[^.\d]*\b4\b[^.\d]*\b5\b", page.text)
    assert re.search(r"0\.96 s\b[^.\d]*1\.28 s\b.*fuse_failed", page.text)
    assert [alt for alt in page.alts if alt.startswith("Fused frame at 0.00 s of cam")]
    assert len([alt for alt in page.alts if alt.startswith("Fused frame")]) == 8
    # The worst moments lie a second apart, so two fit here, by each of vif and flicker.
    for source in ("Source A at", "Source B at", "Fused at"):
        assert 2 <= len([alt for alt in page.alts if alt.startswith(source)]) <= 4
    assert "Lowest vif" in page.text
    assert "Most flicker" in page.text
    assert "recordings/cam.mp4" in page.links
    assert "recordings/cam.mp4#t=0.00" in page.links
    assert not [alt for alt in page.alts if "segment_" in alt], "segments are no pairs of images"
    (video,) = page.videos
    kind, _, data = video.partition(";base64,")
    assert kind == "data:video/mp4"
    with av.open(io.BytesIO(base64.b64decode(data))) as played:
        assert len(list(played.decode(video=0))) == 32


def test_frames_are_those_of_the_joined_recording_at_their_moments(job, monkeypatch):
    """The segments may be gone; the recording lacks one of five."""
    reads = []
    as_it_is = recordings._Shown._read

    def read(self, uri, seconds, *about, **more):
        found = as_it_is(self, uri, seconds, *about, **more)
        if uri.endswith("recordings/cam.mp4"):
            reads.append((seconds, found))
        return found

    monkeypatch.setattr(recordings._Shown, "_read", read)
    page_of(job)
    with open_source(job.destination.recordings + "/cam.mp4", 10**8) as joined:
        shown = {round(frame.seconds, 3): frame.read() for frame in joined.frames(0, 9)}
    assert len({seconds for seconds, _ in reads}) > 8
    for seconds, found in reads:
        np.testing.assert_array_equal(found, shown[round(seconds, 3)])


def test_sources_that_may_not_be_read_are_not_read(job):
    page = page_of(job, may_read=lambda _: False)
    assert not [alt for alt in page.alts if alt.startswith("Source")]
    assert [alt for alt in page.alts if alt.startswith("Fused at")]
