"""Jobs as forks of a process that has imported what they need: one costs a second instead of ten."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

IMPORTED = ["jobs.fuse", "pipelines.fuse.defaults", "pipelines.fuse.job", "pipelines.fuse.plan"]


class ForkedJob:
    """`upfusion fuse` in a process of its own, with what `subprocess.Popen` has of one.

    The first one starts the process that all are forked from; its environment is that of this moment.
    """

    def __init__(self, words: Sequence[object], log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["__main__", *IMPORTED])  # what each would import by itself
        self._process = context.Process(target=_fuse, args=(list(map(str, words)), str(log)))
        self._process.start()

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.exitcode

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._process.kill()
        self._process.join()


def _fuse(words: list[str], log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", closefd=False) for stream in (1, 2))
    from jobs.fuse import command

    command.main(words, prog_name="upfusion fuse")
