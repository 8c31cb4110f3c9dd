"""The align job: pairs spread over an archive in, a rig and a page that shows it out. It needs no cluster."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.align.config import AlignConfig
from pipelines.align.page import write_page
from pipelines.archive.discover import discover
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.rig_frames import sample_pairs
from pipelines.rigs.estimate import Estimated, estimate_rigs
from pipelines.storage import objects as storage
from upfusion.counted import counted


@dataclass(frozen=True)
class Outcome:
    """What the align job leaves behind."""

    estimated: Estimated
    file: str
    page: str
    seconds: float


def align(config: AlignConfig, on_progress: Callable[[str], None] = lambda _: None) -> Outcome:
    """Estimate the rigs of an archive, write them and a page.

    Raises UsageError where the archive cannot be read, where no camera's pairs show the same scene, and where the
    file cannot be written.
    """
    started = time.monotonic()
    on_progress("looking for pairs")
    found = discover(config, recordings=True)
    on_progress(f"reading up to {counted(config.pairs, 'pair')} per camera of {found.pairs.num_rows}")
    # Recordings need the settings of a fuse job.
    settings = {name: getattr(config, name) for name in ("source", "frame_rate", "per", "offset", "max_pixels")}
    sampled = sample_pairs(found.pairs, FuseConfig(out=config.out, **settings), config.pairs)
    estimated = estimate_rigs(sampled, config.per, on_progress)
    file = storage.absolute(config.out)
    page = f"{file.removesuffix('.json')}.html"
    on_progress("writing the page")
    try:
        storage.write_bytes(file, estimated.rigs.to_json().encode())
        write_page(page, config.source, estimated)
    except OSError as error:
        raise UsageError(f"--out {file} cannot be written: {storage.redact(str(error))}") from error
    return Outcome(estimated, file, page, time.monotonic() - started)
