"""The sets of an evaluation and their pairs."""

import posixpath
from dataclasses import dataclass

import pyarrow as pa

from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import discover
from pipelines.archive.splits import TEST, split_of
from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.config import NAMED
from pipelines.storage import objects as storage
from upfusion.prompts import TASKS


@dataclass(frozen=True)
class EvaluationSet:
    """Pairs that are evaluated together."""

    name: str
    place: str
    pairs: pa.Table
    """MANIFEST_SCHEMA, sorted by pair_id; ids are relative to the set."""
    unpaired: list[str]
    """URIs of images without a partner."""
    others: frozenset[str] = frozenset()
    """Ids of the set's pairs that are not evaluated."""

    @property
    def ids(self) -> list[str]:
        """The ids of the pairs."""
        ids: list[str] = self.pairs["pair_id"].to_pylist()
        return ids

    @property
    def folder(self) -> str:
        """The folder of the pairs, or of their manifest."""
        return self.place.rsplit("/", 1)[0] if self.place.lower().endswith((".parquet", ".csv")) else self.place

    @property
    def tasks(self) -> str:
        """The kinds of pairs, most sets having one."""
        return ", ".join(sorted(set(self.pairs["task"].to_pylist())))


def find_sets(given: tuple[str, ...], limit: int | None, allow: tuple[str, ...] = ()) -> list[EvaluationSet]:
    """Find the pairs of every set; raises UsageError if there are none or a name is used twice."""
    found = [_find(one, limit, allow) for one in given]
    names = [one.name for one in found]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two sets are called {repeated!r}; name them with NAME=PLACE")
    return found


def _find(given: str, limit: int | None, allow: tuple[str, ...]) -> EvaluationSet:
    name, task, place = _parse(given)
    try:
        found = discover(ArchiveConfig(source=place, task=task, allow=allow))
    except UsageError as error:
        raise UsageError(f"set {str(error).removeprefix('SOURCE ')}") from error
    splits = [split_of(pair_id) for pair_id in found.pairs["pair_id"].to_pylist()]
    pairs = found.pairs
    if TEST in splits:
        pairs = pairs.filter(pa.array([split == TEST for split in splits], pa.bool_()))
    pairs = pairs.slice(0, limit)
    others = frozenset(found.pairs["pair_id"].to_pylist()) - frozenset(pairs["pair_id"].to_pylist())
    return EvaluationSet(name, storage.absolute(place), pairs, found.unpaired, others)


def _parse(given: str) -> tuple[str, str | None, str]:
    """Parse NAME:TASK=PLACE; a set without a name is named after its last folder."""
    named = NAMED.fullmatch(given)
    if named is None:
        return posixpath.splitext(posixpath.basename(storage.absolute(given)))[0] or given, None, given
    if named["task"] and named["task"] not in TASKS:
        raise UsageError(f"set {given!r}: unknown task {named['task']!r}; known tasks: {', '.join(TASKS)}")
    return named["name"].strip(), named["task"], named["place"]
