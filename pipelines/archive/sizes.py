"""The sizes of an archive's images, from the heads of their files."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from pipelines.archive import formats as footage
from pipelines.storage import objects as storage
from upfusion.images import ImageError, image_size

SIZES_READ = 2000
RADIOMETRIC = "radiometric JPEG"
HEAD, WHOLE = 1 << 16, 1_000_000_000  # bytes; the second is the default of --max-file-mb


@dataclass(frozen=True)
class Sizes:
    """The sizes of an archive's pairs, from the heads of their files."""

    counts: Counter[tuple[str, str, str]]
    """Pairs by task, size of A and size of B ("WIDTHxHEIGHT", or what is known instead)."""
    looked_at: int
    """How many pairs were looked at."""

    @property
    def differing(self) -> int:
        """How many of them have images of two sizes."""
        return sum(count for (_, a, b), count in self.counts.items() if a != b and _is_size(a) and _is_size(b))


def count_sizes(pairs: pa.Table) -> Sizes:
    """Count pairs by task and sizes, reading only the heads of files; recordings count as such.

    At most SIZES_READ evenly spread pairs are looked at.
    """
    step = max(1, -(-pairs.num_rows // SIZES_READ))
    looked_at = pairs.take(list(range(0, pairs.num_rows, step)))
    a, b = looked_at["a_uri"].to_pylist(), looked_at["b_uri"].to_pylist()
    both = [(RADIOMETRIC, RADIOMETRIC) if one == other else None for one, other in zip(a, b, strict=True)]
    with ThreadPoolExecutor(max_workers=32) as pool:
        files = [uri for uris, known in zip(zip(a, b, strict=True), both, strict=True) if not known for uri in uris]
        sizes = pool.map(_size_of, files)
        pairs_of_sizes = [known or (next(sizes), next(sizes)) for known in both]
    tasks = looked_at["task"].to_pylist()
    return Sizes(Counter((task, *sizes) for task, sizes in zip(tasks, pairs_of_sizes, strict=True)), len(tasks))


def _is_size(text: str) -> bool:
    return text[:1].isdigit()


def _size_of(uri: str) -> str:
    if footage.is_recording(uri):
        return "frames of a folder" if footage.is_frame_folder(uri) else "recording"
    try:
        head = storage.read_head(uri, HEAD)
        try:
            width, height = image_size(head)
        except ImageError:
            if len(head) < HEAD:
                raise
            # A TIFF often stores its size at its end, a JPEG after a long profile.
            width, height = image_size(storage.read_head(uri, WHOLE))
    except (ImageError, OSError):
        return "unreadable"
    return f"{width}x{height}"
