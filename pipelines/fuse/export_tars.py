"""The fused images of a destination as WebDataset tars: KEY.fused.png with KEY.json, the row, beside it."""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pipelines.errors.failures import Row
from pipelines.storage import objects as storage

_BLOCK = tarfile.BLOCKSIZE


def write_tars(
    images: Iterable[tuple[Row, str, bytes]], to: str, shard_bytes: int, on_progress: Callable[[int], None]
) -> tuple[int, list[str]]:
    """Write images, each with its row and its name, into `to`/000000.tar, 000001.tar and so on.

    Each tar is put when it is whole and has at most `shard_bytes` of members, or a single pair. The same images give
    the same bytes. Returns the number of images, and the tars.
    """
    count, tars = 0, list[str]()
    for shard, members in enumerate(_shards(images, shard_bytes)):
        tars.append(storage.join(to, f"{shard:06d}.tar"))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "shard.tar"
            with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
                for pair in members:
                    for name, data in pair:
                        _add(tar, name, data)
                    count += 1
                    on_progress(count)
            storage.move_here(tars[-1], file)
    return count, tars


def key_of(name: str) -> str:
    """Return the key of an image by its file name: WebDataset takes what follows the first dot for the extension."""
    folder, slash, file = name.rpartition("/")
    key = file.rpartition(".")[0]
    if "." in key:
        key = f"{key.replace('.', '_')}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    return folder + slash + key


Pair = list[tuple[str, bytes]]


def _shards(images: Iterable[tuple[Row, str, bytes]], shard_bytes: int) -> Iterator[Iterator[Pair]]:
    """Group pairs into shards without holding more than one of them in memory."""
    made = map(_members, images)
    waiting: list[Pair] = []

    def members() -> Iterator[Pair]:
        size = 0
        while pair := waiting.pop() if waiting else next(made, None):
            more = sum(2 * _BLOCK + len(data) for _, data in pair)
            if size and size + more > shard_bytes:
                waiting.append(pair)
                return
            size += more
            yield pair

    for first in made:
        waiting.append(first)
        while waiting:
            yield members()


def _members(image: tuple[Row, str, bytes]) -> Pair:
    row, name, data = image
    key = key_of(name)
    return [
        (f"{key}.fused.{name.rpartition('.')[2]}", data),
        (f"{key}.json", json.dumps(row, ensure_ascii=False, default=str).encode()),
    ]


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)  # no time, no owner: the same images give the same bytes
    about.size = len(data)
    tar.addfile(about, io.BytesIO(data))
