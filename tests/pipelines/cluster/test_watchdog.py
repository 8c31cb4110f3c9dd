"""Noticing that nothing moves."""

import threading
import time

from pipelines.cluster import watchdog as stall
from pipelines.cluster.watchdog import watching


def test_what_moves_is_left_alone_and_what_does_not_is_told_of_at_growing_intervals(monkeypatch):
    monkeypatch.setattr(stall, "QUIET_SECONDS", 0.4)
    heard, told = list[float](), threading.Event()

    def on_quiet(seconds: float) -> None:
        heard.append(seconds)
        told.set()

    with watching(on_quiet) as moved:
        for _ in range(10):
            time.sleep(0.1)
            moved()
        assert heard == []
        assert told.wait(5)
        told.clear()
        assert told.wait(5)
    first, second = heard
    assert first >= 0.4
    assert second >= 1.2
    threads = threading.active_count()
    time.sleep(0.5)
    assert len(heard) == 2
    assert threading.active_count() <= threads


def test_the_watch_ends_with_an_error_of_the_work():
    before = threading.active_count()
    try:
        with watching(lambda _: None):
            raise KeyError("work")
    except KeyError:
        pass
    assert threading.active_count() == before
