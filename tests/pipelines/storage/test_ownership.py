"""Whether an output folder may be used with the settings of a run."""

import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.storage.ownership import digest_of, is_claimed, write_claim


def run(**result: object) -> dict[str, object]:
    return {"digest": digest_of(result), "result": result}


def test_a_folder_that_an_earlier_version_made_is_resumed_with_the_default_of_a_new_option(place):
    write_claim(place, run(model="1"))
    assert is_claimed(place, run(model="1", sharpen=0.0), {"sharpen": 0.0})
    with pytest.raises(UsageError, match=r"\(sharpen: 0\.0 there, 0\.5 now\)"):
        is_claimed(place, run(model="1", sharpen=0.5), {"sharpen": 0.0})
    with pytest.raises(UsageError, match=r"sharpen\b.*None\b.*0\.0"):
        is_claimed(place, run(model="1", sharpen=0.0))


def test_a_folder_is_refused_with_every_setting_that_differs(place):
    assert not is_claimed(place, run(model="1"))
    write_claim(place, run(model="1", tile=512))
    assert is_claimed(place, run(tile=512, model="1"))
    with pytest.raises(UsageError, match=r"model\b.*'1'.*'2'.*tile\b.*512.*None"):
        is_claimed(place, run(model="2"), {"tile": None})
