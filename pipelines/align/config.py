"""The configuration of `upfusion align`."""

from pydantic import Field

from pipelines.archive.config import ArchiveConfig
from pipelines.config.fields import MaxPixels, RunnerChoice, RuntimeOnly
from pipelines.rigs.config import PerCamera
from upfusion.image_guard import MAX_PIXELS


class AlignConfig(PerCamera, ArchiveConfig):
    """Configuration of the align job."""

    out: str = Field("rig.json", description="File for the rig; a page that shows it is written beside it (.html).")
    pairs: int = Field(
        32, ge=1, le=512, description="Pairs per camera, spread over the archive, that a rig is estimated from."
    )
    offset: str = Field(
        "0", description="Of recordings: seconds that B's clock began after A's, or 'auto' (see `upfusion fuse`)."
    )
    runner: RuntimeOnly[RunnerChoice] = Field(
        "auto",
        description="inline estimates one camera after the other in this process; ray many at once, on the cluster of "
        "RAY_ADDRESS or a Ray of this machine. auto is inline for a few cameras where there is no cluster to join.",
    )
    max_pixels: MaxPixels = MAX_PIXELS

    def shared_paths(self) -> list[tuple[str, str]]:
        return [("SOURCE", self.source), ("--out", self.out)]
