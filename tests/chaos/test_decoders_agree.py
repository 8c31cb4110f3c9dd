"""10,000 files, half of them damaged: decoders agree on every one that is not refused."""

import pytest

from tests.decoder_agreement import compare
from tests.tally import COUNTED

pytestmark = [pytest.mark.slow, pytest.mark.extended]


@pytest.mark.parametrize("seed", range(100, 110))
def test_decoders_agree_on_a_thousand_files(seed: int) -> None:
    found = compare(1000, seed)
    assert not found.disagreements
    COUNTED.update(
        {
            "decoders: files compared with two others, all alike": found.agreed,
            "decoders: files that one other or none reads": found.alone,
            "decoders: files refused": found.refused,
            "decoders: disagreements": 0,
        }
    )
