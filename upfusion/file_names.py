"""Which names of files count as images; every command asks here."""

from posixpath import splitext

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
"""File suffixes that count as images in an archive, in lower case."""

# What systems put beside people's files under names of their own: archives made on macOS, network storage (Synology),
# Windows. macOS' `._1.jpg` and `.DS_Store` begin with a dot.
_BESIDE = frozenset(
    {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db"}
    | {"desktop.ini", "lost+found"}
)


def is_hidden(path: str) -> bool:
    """Tell whether a path, relative to the folder that was given, is hidden or put there by a system."""
    return any(part.startswith(".") or part.lower() in _BESIDE for part in path.split("/") if part)


def is_image_name(path: str) -> bool:
    """Tell whether a path, relative to the folder that was given, counts as an image: by its suffix, and not hidden."""
    return splitext(path)[1].lower() in SUFFIXES and not is_hidden(path)
