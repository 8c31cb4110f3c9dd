"""Several writers of one object at the same moment."""

import threading

from pipelines.storage.create import create_bytes

WRITERS = 8


def race_to_create(uri: str) -> list[int]:
    """Let writers create one object at once, each with its number as content; return the numbers of those that did."""
    start, made = threading.Barrier(WRITERS), list[int]()

    def create(number: int) -> None:
        start.wait()
        if create_bytes(uri, str(number).encode()):
            made.append(number)

    threads = [threading.Thread(target=create, args=[number]) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made
