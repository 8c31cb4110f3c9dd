"""Memory that is freed stays with the process."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="options of glibc's allocator")

PAGES_OF_LATER_ARRAYS = """
import resource
import numpy as np
from pipelines.cluster.allocator import keep_freed_memory

keep_freed_memory()
for turn in range(20):
    if turn == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(2 << 20, np.uint8) for _ in range(10)]
    del arrays
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 18 * 10 * (2 << 20) // os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


def pages_of_later_arrays(**variables: str) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")} | variables
    command = [sys.executable, "-c", PAGES_OF_LATER_ARRAYS]
    return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def test_arrays_lie_where_those_before_them_lay() -> None:
    assert pages_of_later_arrays() < PAGES / 100


def test_who_sets_the_allocators_own_variables_decides() -> None:
    assert pages_of_later_arrays(MALLOC_TRIM_THRESHOLD_="131072") > PAGES / 2
