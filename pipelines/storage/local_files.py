"""Walking the folders of this machine."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress

PART = re.compile(r"\.[0-9a-f]{32}\.part")


def local_files(folder: str, above: frozenset[str] = frozenset()) -> Iterator[str]:
    """Walk a folder; `above` holds the real paths of the parents, which ends cycles of links."""
    here = os.path.realpath(folder)
    if here in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                yield from local_files(entry.path, above | {here})
            elif not PART.fullmatch(entry.name):
                yield entry.path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False
