"""How a job that takes long ends early: stopped by a person, or by something nobody foresaw."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from pipelines import storage
from pipelines.request import JobStoppedError, RequestError

EXIT_OK, EXIT_CRASH, EXIT_SOME_FAILED, EXIT_INTERRUPTED = 0, 1, 3, 130


@contextmanager
def explained(console: Console, job: str, kept: str, *, verbose: bool) -> Iterator[None]:
    """End the process with a sentence and an exit code where the block is interrupted or crashes.

    `kept` says what is not lost. Wrong requests are the command line's to explain. With `verbose` a crash keeps its
    traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        console.print(f"\nStopped. {kept}; the same command again goes on from there.", soft_wrap=True)
        sys.exit(EXIT_INTERRUPTED)
    except RequestError:
        raise
    except Exception as error:
        if verbose:
            raise
        explains = isinstance(error, JobStoppedError)
        sentence = storage.without_secrets(str(error) if explains else f"{type(error).__name__}: {error}")
        console.print(f"\n{job} stopped: {sentence}", style="red", markup=False, soft_wrap=True)
        if not explains:
            console.print(f"{kept}; the same command again goes on from there. --verbose shows more.", soft_wrap=True)
        sys.exit(EXIT_CRASH)
