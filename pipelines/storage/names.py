"""Names of image files, made from the ids of their pairs."""

import hashlib
import os
import re
import unicodedata
from pathlib import Path

from pipelines.storage import objects as storage
from upfusion.images import ImageError

# Bytes of an image's name; stores take 1024 for a whole key, file systems 255 for a part.
LONGEST_NAME, LONGEST_PART = 600, 120
# Windows takes these for devices, whatever suffix they have.
DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)", re.IGNORECASE)


def image_name(pair_id: str, suffix: str) -> str:
    """Name the image file of a pair after its id, such that different ids have different names.

    Folders are kept; a part that a file system could refuse or confuse (stores that ignore case or Unicode's
    forms included) is made safe, and the name carries a digest of the id.
    """
    parts = [_safe(part) for part in pair_id.split("/")]
    name = "/".join(parts)
    if len(name.encode()) > LONGEST_NAME:
        name = parts[-1]
    plain = name == pair_id == unicodedata.normalize("NFC", pair_id).casefold()
    # A plain id that ends like a digest could be the name of another one.
    if not plain or re.search(r"-[0-9a-f]{12}$", name):
        name += "-" + hashlib.sha256(pair_id.encode()).hexdigest()[:12]
    return name + suffix


def _safe(part: str) -> str:
    cut = re.sub(r"[^\w.\- ]", "_", part).encode()[:LONGEST_PART]
    safe = cut.decode(errors="ignore").strip(". ") or "_"
    return f"_{safe}" if DEVICES.match(safe) else safe


def check_inside(uri: str, folder: str) -> None:
    """Raise ImageError where a link that lies below a local folder leads out of it; the folder may be one."""
    if storage.is_remote(uri):
        return
    top = os.path.realpath(folder)
    if os.path.commonpath([top, os.path.realpath(Path(uri).parent)]) != top:
        raise ImageError("write_failed", f"a symbolic link leads out of {folder}: {uri}")
