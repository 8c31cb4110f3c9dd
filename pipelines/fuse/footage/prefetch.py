"""Background threads with bounded queues: prefetching inputs and consuming outputs, at constant memory."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")

WAKE_SECONDS = 0.2  # how often a waiting thread checks whether it should stop


def prefetch(items: Iterable[Item], most: int) -> Generator[Item, None, None]:
    """Yield the items of an iterable, which runs in a background thread up to `most` items ahead.

    Its exceptions are re-raised here. When the consumer stops, the iterable is closed in its thread.
    """
    waiting: queue.Queue[tuple[Item | None, BaseException | None, bool]] = queue.Queue(most)
    unwanted = threading.Event()

    def put(entry: tuple[Item | None, BaseException | None, bool]) -> bool:
        while not unwanted.is_set():
            try:
                waiting.put(entry, timeout=WAKE_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                if not put((item, None, False)):
                    break
            put((None, None, True))
        except BaseException as error:  # noqa: BLE001  # re-raised in the consumer
            put((None, error, True))
        finally:
            if close := getattr(iterator, "close", None):
                close()

    thread = threading.Thread(target=run, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error, over = waiting.get()
            if error is not None:
                raise error
            if over:
                return
            yield item  # type: ignore[misc]
    finally:
        unwanted.set()
        thread.join()


class BackgroundConsumer(Generic[Item]):
    """A thread that consumes items in order, at most `most` items behind the producer."""

    def __init__(self, use: Callable[[Item], None], most: int) -> None:
        self._use = use
        self._waiting: queue.Queue[Item | None] = queue.Queue(most)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="behind", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Enqueue an item; re-raises the exception of an earlier one."""
        self._raise()
        self._waiting.put(item)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all items are consumed; re-raises the consumer's exception unless another one is propagating."""
        self._waiting.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is None:  # after an error items are discarded, so that the producer does not block
                try:
                    self._use(item)
                except BaseException as error:  # noqa: BLE001  # re-raised in the producer
                    self._error = error


def in_groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield lists of `size` items; the last list may be shorter."""
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
