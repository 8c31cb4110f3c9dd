"""The ranges of a fuse job: those that DEST has, others from a sample of its images and recordings."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.frames import open_source
from pipelines.sources.ranges import Limits, Ranges, Sample, kept_ranges, sample_ranges
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim
from upfusion.cameras.ranges import kind_of, sample_of

FRAMES_SAMPLED = 8  # of each recording


def settle_ranges(pairs: pa.Table, config: FuseConfig) -> Ranges:
    """Return the ranges of an archive: those that DEST has, and for kinds of values it has none for, sampled ones.

    A DEST of an earlier version has none and resumes with full scales.
    """
    claims = (read_claim(storage.absolute(uri)) for uri in (config.out, config.destination))
    there = next((claim for claim in claims if claim is not None), None)
    limits = Limits(config.max_bytes, config.max_pixels, lambda uri: _frame_samples(uri, config))
    return sample_ranges(pairs, config, kept_ranges(there), limits)


def _frame_samples(uri: str, config: FuseConfig) -> Iterator[Sample]:
    try:
        with open_source(uri, config.max_pixels, config.frame_rate) as source:
            seconds = source.video.seconds or 0.0
            for at in np.linspace(0, 0.95 * seconds, FRAMES_SAMPLED if seconds else 1):
                frame = next(source.frames(float(at), float("inf")), None)
                if frame is None:
                    return
                pixels = frame.read()
                if pixels.dtype == np.uint8 and config.range_b == "auto":
                    return
                yield kind_of(pixels), sample_of(pixels)
    except Exception:  # noqa: BLE001 - errors of a recording are reported in its own rows
        return
