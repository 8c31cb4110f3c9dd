"""Names of image files, made from the ids of their pairs."""

import hashlib
import os
import re
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.storage import objects as storage
from upfusion.images import ImageError

# Bytes of an image's name; stores allow 1024 for a whole key, file systems 255 for one part.
LONGEST_NAME, LONGEST_PART = 600, 120
# Windows treats these names as devices, with any extension.
DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)


def image_name(pair_id: str, suffix: str, alike: frozenset[str] | None = None) -> str:
    """Return the file name of a pair's image, made from its id; different ids have different names.

    Folders are kept; a part that a file system could refuse or confuse (case-insensitive or Unicode-normalizing
    stores included) is made safe, and the name gets a digest of the id. `alike` are the ids of the archive that differ
    from another one in case only (`ids_alike`): all of these get one, because an archive may have grown by the second
    of two, and other capital letters are no reason for one.
    """
    parts = [_safe(part) for part in pair_id.split("/")]
    name = "/".join(parts)
    if len(name.encode()) > LONGEST_NAME:
        name = parts[-1]
    plain = name == pair_id == unicodedata.normalize("NFC", pair_id)
    if alike is None:
        plain = plain and pair_id.casefold() == pair_id
    else:
        # Beyond lower(), casefold() makes one of several letters (ß and ss), which ids_alike() does not compare.
        plain = plain and pair_id.casefold() == pair_id.lower() and pair_id not in alike
    # A plain id that ends like a digest could equal the name of another id.
    if not plain or re.search(r"-[0-9a-f]{12}$", name):
        name += "-" + hashlib.sha256(pair_id.encode()).hexdigest()[:12]
    return name + suffix


def ids_alike(ids: pa.ChunkedArray) -> frozenset[str]:
    """Return the ids that differ from another one in case only."""
    lower = pc.utf8_lower(ids)
    counts = pc.value_counts(lower)
    several = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    return frozenset(ids.filter(pc.is_in(lower, value_set=several)).to_pylist())


def _safe(part: str) -> str:
    cut = re.sub(r"[^\w.\- ]", "_", part).encode()[:LONGEST_PART]
    safe = cut.decode(errors="ignore").strip(". ") or "_"
    return f"_{safe}" if DEVICES.match(safe) else safe


def check_inside(uri: str, folder: str) -> None:
    """Raise ImageError if a symbolic link below a local folder leads out of it; the folder itself may be a link."""
    if storage.is_remote(uri):
        return
    top = os.path.realpath(folder)
    if os.path.commonpath([top, os.path.realpath(Path(uri).parent)]) != top:
        raise ImageError("write_failed", f"a symbolic link leads out of {folder}: {uri}")
