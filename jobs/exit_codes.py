"""The exit codes of jobs, and how one that takes long ends early: stopped by a person, or by what nobody foresaw."""

import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from pipelines.errors.exceptions import JobStoppedError, RequestError
from pipelines.storage import objects as storage

EXIT_OK, EXIT_CRASH, EXIT_REQUEST, EXIT_SOME_FAILED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


@contextmanager
def explained(console: Console, job: str, kept: str, *, verbose: bool) -> Iterator[None]:
    """End the process with a sentence and an exit code where the block is interrupted or crashes.

    `kept` says what is not lost. Wrong requests are the command line's to explain. With `verbose` a crash shows its
    traceback, too.
    """
    before = _interrupted_by_sigterm()
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"\nStopped. {kept}; the same command again goes on from there.", soft_wrap=True)
        sys.exit(EXIT_INTERRUPTED)
    except RequestError:
        raise
    except Exception as error:  # noqa: BLE001  # Python would print it with whatever secret it holds
        if verbose:
            console.print(traceback_of(error), markup=False, highlight=False, soft_wrap=True)
        explains = isinstance(error, JobStoppedError)
        sentence = storage.without_secrets(str(error) if explains else f"{type(error).__name__}: {error}")
        console.print(f"\n{job} stopped: {sentence}", style="red", markup=False, soft_wrap=True)
        if not explains:
            more = "" if verbose else " --verbose shows more."
            console.print(f"{kept}; the same command again goes on from there.{more}", soft_wrap=True)
        sys.exit(EXIT_CRASH)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _interrupted_by_sigterm() -> Any:
    """End on SIGTERM as on Ctrl-C, which is how `ray job stop` and Kubernetes stop a job; return what was before."""
    if threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, signal.default_int_handler)


def traceback_of(error: BaseException) -> str:
    """Return what Python would print about an error that nobody catches, without secrets."""
    return storage.without_secrets("".join(traceback.format_exception(error))).rstrip()
