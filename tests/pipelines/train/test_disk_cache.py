import hashlib

import pytest

from pipelines.storage import objects as storage
from pipelines.train.disk_cache import ChangedError, ImageCache

GOOD = b"pixels" * 100


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def kept(folder) -> int:
    return sum(file.stat().st_size for file in folder.glob("*/*"))


def test_what_was_read_from_a_store_is_read_from_the_disk_the_next_time(bucket, tmp_path):
    uri = f"{bucket}/once.png"
    storage.write_bytes(uri, GOOD)
    assert ImageCache(1, str(tmp_path)).read(uri, sha(GOOD)) == GOOD
    storage.delete(uri)
    assert ImageCache(1, str(tmp_path)).read(uri, sha(GOOD)) == GOOD
    with pytest.raises(FileNotFoundError, match=r"once\.png"):
        ImageCache(0, str(tmp_path)).read(uri, sha(GOOD))


def test_a_damaged_copy_is_fetched_again(bucket, tmp_path):
    uri = f"{bucket}/damaged.png"
    storage.write_bytes(uri, GOOD)
    ImageCache(1, str(tmp_path)).read(uri, sha(GOOD))
    (copy,) = tmp_path.glob("*/*")
    copy.write_bytes(GOOD[:50])
    assert ImageCache(1, str(tmp_path)).read(uri, sha(GOOD)) == GOOD
    assert copy.read_bytes() == GOOD


def test_the_folder_stays_within_its_size_and_what_was_used_last_stays(bucket, tmp_path):
    cache = ImageCache(5 * len(GOOD) / 1e9, str(tmp_path))
    contents = [bytes([number]) * len(GOOD) for number in range(12)]
    for number, data in enumerate(contents):
        storage.write_bytes(f"{bucket}/{number}.png", data)
        cache.read(f"{bucket}/{number}.png", sha(data))
        assert kept(tmp_path) <= 5 * len(GOOD)
    assert kept(tmp_path) == 5 * len(GOOD)
    assert (tmp_path / sha(contents[-1])[:2] / sha(contents[-1])).exists()


@pytest.mark.parametrize("gigabytes", [0, 1])
def test_an_object_that_holds_something_else_than_it_did_is_an_error_that_names_it(place, tmp_path, gigabytes):
    uri = storage.join(place, "a.png")
    storage.write_bytes(uri, b"other")
    with pytest.raises(ChangedError, match=r"a\.png has changed since the run began"):
        ImageCache(gigabytes, str(tmp_path / "cache")).read(uri, sha(GOOD))


def test_local_files_are_not_copied(tmp_path):
    storage.write_bytes(str(tmp_path / "a.png"), GOOD)
    assert ImageCache(1, str(tmp_path / "cache")).read(str(tmp_path / "a.png"), sha(GOOD)) == GOOD
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_costs_time_and_no_more(bucket, tmp_path):
    storage.write_bytes(f"{bucket}/a.png", GOOD)
    (tmp_path / "file").touch()
    assert ImageCache(1, str(tmp_path / "file")).read(f"{bucket}/a.png", sha(GOOD)) == GOOD
