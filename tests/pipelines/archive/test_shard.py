"""Which part of an archive a name is in."""

from collections import Counter

import pytest

from pipelines.archive.shard import Shard

NAMES = [f"street_{number:04d}" for number in range(4000)]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_name_is_in_one_shard_and_shards_are_of_a_size(count):
    shards = [Shard(number, count) for number in range(1, count + 1)]
    held = Counter(shard for name in NAMES for shard in shards if shard.contains(name))
    assert sum(held.values()) == len(NAMES)
    assert all(abs(held[shard] * count / len(NAMES) - 1) < 0.15 for shard in shards)


def test_where_a_name_is_never_changes():
    # Another hash would do the archives of others over again.
    held = [name for name in NAMES[:12] if Shard.parse("2/3").contains(name)]
    assert held == ["street_0000", "street_0002", "street_0007"]
    assert Shard(1, 2).contains("caf\udce9") != Shard(2, 2).contains("caf\udce9")
