"""The exit codes of jobs, and how one that takes long ends early: stopped by a person, or by what nobody foresaw."""

import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from pipelines.errors.exceptions import JobStoppedError, UsageError
from pipelines.storage import objects as storage

EXIT_OK, EXIT_CRASH, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


@contextmanager
def exit_on_failure(console: Console, job: str, kept: str, *, verbose: bool) -> Iterator[None]:
    """Exit with a message and an exit code if the block is interrupted or crashes.

    `kept` states what is saved. UsageErrors are left to the command line. With `verbose` a crash also shows its
    traceback.
    """
    before = _interrupted_by_sigterm()
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"\nInterrupted. {kept}; rerun the same command to resume.", soft_wrap=True)
        sys.exit(EXIT_INTERRUPTED)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001  # Python would print it with whatever secret it holds
        if verbose:
            console.print(traceback_of(error), markup=False, highlight=False, soft_wrap=True)
        explains = isinstance(error, JobStoppedError)
        sentence = storage.redact(str(error) if explains else f"{type(error).__name__}: {error}")
        console.print(f"\n{job} stopped: {sentence}", style="red", markup=False, soft_wrap=True)
        if not explains:
            more = "" if verbose else " --verbose shows more."
            console.print(f"{kept}; rerun the same command to resume.{more}", soft_wrap=True)
        sys.exit(EXIT_CRASH)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _interrupted_by_sigterm() -> Any:
    """Handle SIGTERM (`ray job stop`, Kubernetes) like Ctrl-C; return the previous handler."""
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, signal.default_int_handler)


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error, redacted."""
    return storage.redact("".join(traceback.format_exception(error))).rstrip()
