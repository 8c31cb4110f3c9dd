"""What messages suggest can be pasted."""

import shlex

import pytest

from pipelines.archive.config import ArchiveConfig


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source": "/media/my card"}, ["/media/my card"]),
        ({"source": "visible", "source_b": "infrared"}, ["visible", "infrared"]),
        ({"source": "in", "pair_by": "time:1.5"}, ["in", "--pair-by", "time:1.5"]),
        ({"source": "in", "a": "cam1/*.jpg", "b": "cam2/*"}, ["in", "--a", "cam1/*.jpg", "--b", "cam2/*"]),
        ({"source": "m.csv", "allow": "s3://a,s3://b", "limit": 3}, ["m.csv", "--allow", "s3://a,s3://b"]),
    ],
)
def test_a_suggested_command_finds_the_same_pairs(given: dict[str, object], words: list[str]) -> None:
    assert shlex.split(ArchiveConfig(**given).shell_arguments) == words
