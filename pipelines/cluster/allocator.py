"""Memory that is freed stays with the process, for the next pair takes as much again."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of glibc's options in malloc.h."""
_KEPT_BYTES, _FROM_THE_HEAP_BYTES = 256 << 20, 32 << 20
"""What may lie free at the end of the heap, and the largest array that is taken from there, which glibc bounds."""


def keep_freed_memory() -> None:
    """Have glibc keep what arrays of up to 32 MiB leave free, up to 256 MiB, instead of returning it after each.

    The kernel clears every page that it hands out again: of the 70 ms of CPU that `tiny` took for a pair of 640x480,
    13 went into that, and half the time of scoring a pair's registration. The highest memory of a process does not
    change. Whoever sets glibc's own variables (`MALLOC_TRIM_THRESHOLD_`, `MALLOC_MMAP_THRESHOLD_`) decides; other
    C libraries are left as they are.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _FROM_THE_HEAP_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
