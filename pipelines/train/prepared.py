"""The pairs of a training run as arrays: read through the cache of files, prepared as `upfusion fuse` prepares them."""

from dataclasses import dataclass

from pipelines.errors.failures import Row
from pipelines.sources.preparation import AS_THEY_ARE, Preparation
from pipelines.train.disk_cache import ImageCache
from upfusion.color import Pixels
from upfusion.image_guard import MAX_PIXELS
from upfusion.images import ImageError


@dataclass(frozen=True)
class PairReader:
    """Reads pairs; a worker has one."""

    files: ImageCache
    preparation: Preparation = AS_THEY_ARE
    max_pixels: int = MAX_PIXELS

    def read(self, pair: Row) -> tuple[Pixels, Pixels]:
        """Return A and B of a row of `data.parquet`; raises OSError or ImageError naming the file."""
        row = {name: pair[name] for name in ("pair_id", "task", "a_uri", "b_uri")} | {"error_code": None, "error": None}
        row |= {f"{side}_file": self.files.read(pair[f"{side}_uri"], pair[f"{side}_sha256"]) for side in "ab"}
        found = self.preparation.pair(row, self.max_pixels)
        if found is None:
            raise ImageError(row["error_code"], row["error"])
        return found
