"""Which camera a pair belongs to, by its id."""

import re

ALL = ""
"""The camera of all pairs, where an archive has one rig for all."""


def camera_of(pair_id: str, per: str | None) -> str:
    """Return the name of the camera that a pair's id begins with.

    `per` is a number of leading folders (`1` makes `cam3` of `cam3/2024/0001`), or a pattern of the beginning of the id
    (`*` and `?` match within a folder: `site?/cam*` makes `site1/cam3` of `site1/cam3/0001`). None makes one camera of
    all. An id that does not match belongs to the camera `""`. Raises ValueError for a level below 1.
    """
    if per is None:
        return ALL
    if per.lstrip("-").isdigit():
        if int(per) < 1:
            raise ValueError(f"--per: expected a level of 1 or more, or a pattern, got {per!r}")
        folders = pair_id.split("/")[:-1]
        return "/".join(folders[: int(per)]) if len(folders) >= int(per) else ALL
    parts = {"*": "[^/]*", "?": "[^/]"}
    pattern = "".join(parts.get(part, re.escape(part)) for part in re.split(r"([*?])", per))
    found = re.match(pattern, pair_id)
    return found.group() if found else ALL
