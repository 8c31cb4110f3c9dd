"""Which file names are recordings."""

from posixpath import splitext

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".avi", ".ts", ".mts", ".m2ts"})
"""File extensions of recordings, in lower case."""


def is_recording(uri: str) -> bool:
    """Tell a recording, or a folder of numbered frames, from an image."""
    return is_frame_folder(uri) or splitext(uri)[1].lower() in SUFFIXES


def is_frame_folder(uri: str) -> bool:
    """Tell a folder of numbered frames by its trailing slash."""
    return uri.endswith("/")
