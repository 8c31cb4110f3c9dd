"""Noticing that nothing moves, and saying why, while the work itself waits."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

QUIET_SECONDS = 40.0
LONGEST_QUIET_SECONDS = 600.0


@contextmanager
def watching(on_quiet: Callable[[float], None]) -> Iterator[Callable[[], None]]:
    """Give a function to call whenever something moves; while nothing does, `on_quiet` gets the number of seconds.

    It is called from a thread of its own, first after QUIET_SECONDS and then at growing intervals.
    """
    moved = threading.Event()
    over = False

    def watch() -> None:
        since, patience = time.monotonic(), QUIET_SECONDS
        while not over:
            if moved.wait(patience):
                moved.clear()
                since, patience = time.monotonic(), QUIET_SECONDS
            elif not over:
                on_quiet(time.monotonic() - since)
                patience = min(2 * patience, LONGEST_QUIET_SECONDS)

    thread = threading.Thread(target=watch, name="stall_watchdog", daemon=True)
    thread.start()
    try:
        yield moved.set
    finally:
        over = True
        moved.set()
        thread.join(timeout=10)
