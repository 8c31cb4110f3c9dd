import threading
import time

import pytest

from pipelines.fuse.footage.prefetch import BackgroundConsumer, in_groups, prefetch
from tests.pipelines.blocks import raising


def test_items_come_in_order_and_no_more_than_asked_for_are_made():
    made = []

    def make():
        for number in range(20):
            made.append(number)
            yield number

    items = prefetch(make(), 3)
    assert next(items) == 0
    time.sleep(0.3)
    assert len(made) <= 5  # one taken, three waiting, one in hand
    assert list(items) == list(range(1, 20))


def test_what_making_an_item_raises_is_raised_where_it_is_waited_for():
    def make():
        yield 1
        raise OSError("gone")

    items = prefetch(make(), 2)
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_items_that_nobody_wants_are_not_made_and_their_maker_is_closed():
    closed = threading.Event()

    def make():
        try:
            yield from range(10**9)
        finally:
            closed.set()

    items = prefetch(make(), 2)
    next(items)
    items.close()
    assert closed.is_set()


def test_items_are_used_in_order_and_all_before_the_end():
    used = []
    with BackgroundConsumer(used.append, 2) as behind:
        for number in range(50):
            behind.put(number)
    assert used == list(range(50))


def test_what_using_an_item_raises_is_raised_where_items_come_from():
    use = raising(OSError("full"))

    def put_many():
        with BackgroundConsumer(use, 1) as behind:
            for number in range(100):
                behind.put(number)

    with pytest.raises(OSError, match="full"):
        put_many()
    with pytest.raises(OSError, match="full"), BackgroundConsumer(use, 1) as behind:
        behind.put(1)  # noticed at the end at the latest


def test_groups_are_full_but_for_the_last():
    assert list(in_groups(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_groups([], 2)) == []
