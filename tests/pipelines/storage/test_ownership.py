"""Whether an output folder may be used with the settings of a run."""

import pytest

from pipelines.storage.ownership import DifferentSettingsError, digest_of, is_claimed, write_claim


def run(**result: object) -> dict[str, object]:
    return {"digest": digest_of(result), "result": result}


def differing(place: str, *run_and_defaults: dict[str, object]) -> dict[str, tuple[object, object]]:
    with pytest.raises(DifferentSettingsError) as refused:
        is_claimed(place, *run_and_defaults)
    assert all(name in str(refused.value) for name in (place, *refused.value.differing))
    return refused.value.differing


def test_a_folder_that_an_earlier_version_made_is_resumed_with_the_default_of_a_new_option(place):
    write_claim(place, run(model="1"))
    assert is_claimed(place, run(model="1", sharpen=0.0), {"sharpen": 0.0})
    assert differing(place, run(model="1", sharpen=0.5), {"sharpen": 0.0}) == {"sharpen": (0.0, 0.5)}
    assert differing(place, run(model="1", sharpen=0.0)) == {"sharpen": (None, 0.0)}


def test_a_folder_is_refused_with_every_setting_that_differs(place):
    assert not is_claimed(place, run(model="1"))
    write_claim(place, run(model="1", tile=512))
    assert is_claimed(place, run(tile=512, model="1"))
    assert differing(place, run(model="2"), {"tile": None}) == {"model": ("1", "2"), "tile": (512, None)}
