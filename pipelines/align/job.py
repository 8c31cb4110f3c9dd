"""The align job: pairs spread over an archive in, a rig for each camera (`rig.json`) and a page that shows them out."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipelines.align.config import AlignConfig
from pipelines.align.page import describe_camera, write_page
from pipelines.archive.discover import discover
from pipelines.cluster.shared_paths import check_shared_paths
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.camera_rigs import RigEstimator, estimate_rigs
from pipelines.fuse.config import FuseConfig
from pipelines.storage import objects as storage
from upfusion.registration.rig_set import RigSet

SHARED_WITH_FUSE = ("source", "per", "frame_rate", "offset", "max_pixels", "runner")
"""Options that say how the pairs are read, recordings among them, as a fuse job reads them."""


@dataclass(frozen=True)
class Outcome:
    """What the align job leaves behind."""

    rigs: RigSet
    refused: Mapping[str, str]
    """Why cameras have no rig."""
    file: str
    page: str
    seconds: float


def align(
    config: AlignConfig, on_progress: Callable[[str], None] = lambda _: None, *, verbose: bool = False
) -> Outcome:
    """Estimate the rigs of an archive, write them and a page.

    Raises UsageError where the archive cannot be read, where no camera's pairs show the same scene, and where the
    file cannot be written.
    """
    started = time.monotonic()
    check_shared_paths(config)
    on_progress("looking for pairs")
    found = discover(config, recordings=True)
    settings = FuseConfig(out=config.out, **{name: getattr(config, name) for name in SHARED_WITH_FUSE})
    estimator = RigEstimator(settings, config.pairs, describe_camera)
    rigs, rows = estimate_rigs(found.pairs, estimator, on_progress, verbose=verbose)
    refused = {row["camera"]: row["refused"] for row in rows if row["rig"] is None}
    shown = {row["camera"]: json.loads(row["shown"]) for row in rows if row["rig"] is not None}
    file = storage.absolute(config.out)
    page = f"{file.removesuffix('.json')}.html"
    on_progress("writing the page")
    try:
        storage.write_bytes(file, rigs.to_json().encode())
        write_page(page, config, rigs, shown, refused)
    except OSError as error:
        raise UsageError(f"--out {file} cannot be written: {storage.redact(str(error))}") from error
    return Outcome(rigs, refused, file, page, time.monotonic() - started)
