"""Discovery as tests ask for it: the pairs below a place."""

from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import discover
from pipelines.archive.schema import Discovery


def find(place: str, **settings: object) -> Discovery:
    return discover(ArchiveConfig(source=str(place), **settings))


def named(found: Discovery, place: str) -> dict[str, tuple[str, str]]:
    """The pairs as {pair_id: (A, B)}, with names below the place."""
    rows = found.pairs.to_pylist()
    below = len(str(place)) + 1
    assert len({row["pair_id"] for row in rows}) == len(rows)
    return {row["pair_id"]: (row["a_uri"][below:], row["b_uri"][below:]) for row in rows}
