"""Shards of an archive, for independent jobs that share the work."""

import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Shard `number` of `count`, counted from 1; by default the whole archive."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, words: str) -> "Shard":
        """Parse `I/N`; raises ValueError for anything else."""
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", words)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f"expected I/N with I from 1 to N, such as 1/8, got {words!r}")
        return cls(int(match[1]), int(match[2]))

    def contains(self, name: str) -> bool:
        """Tell whether a name belongs to this shard, independently of all other names."""
        if self.count == 1:
            return True
        digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest) % self.count == self.number - 1

    @property
    def folder(self) -> str:
        """The name of this shard's output folder."""
        return f"shard-{self.number}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
