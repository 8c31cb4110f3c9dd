import hashlib
import os
from pathlib import Path

import pytest

from pipelines.storage import objects as storage
from pipelines.train.disk_cache import ChangedError, ImageCache

GOOD = b"pixels" * 100


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def own_folder(folder: Path) -> Path:
    return folder / f"upfusion-images-{os.getuid()}"


def kept(folder: Path) -> int:
    return sum(file.stat().st_size for file in own_folder(folder).iterdir())


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
    (copy,) = own_folder(tmp_path).iterdir()
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
    assert (own_folder(tmp_path) / sha(contents[-1])).exists()


@pytest.mark.parametrize("gigabytes", [0, 1])
def test_an_object_that_holds_something_else_than_it_did_is_an_error_that_names_it(place, tmp_path, gigabytes):
    uri = storage.join(place, "a.png")
    storage.write_bytes(uri, b"other")
    with pytest.raises(ChangedError, match=r"a\.png"):
        ImageCache(gigabytes, str(tmp_path / "cache")).read(uri, sha(GOOD))


def test_local_files_are_not_copied(tmp_path):
    storage.write_bytes(str(tmp_path / "a.png"), GOOD)
    assert ImageCache(1, str(tmp_path / "cache")).read(str(tmp_path / "a.png"), sha(GOOD)) == GOOD
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_costs_time_and_no_more(bucket, tmp_path):
    storage.write_bytes(f"{bucket}/a.png", GOOD)
    (tmp_path / "file").touch()
    assert ImageCache(1, str(tmp_path / "file")).read(f"{bucket}/a.png", sha(GOOD)) == GOOD


# Whose files they are


def fill(bucket: str, folder: Path, count: int = 6) -> list[bytes]:
    """Read more files than a cache in a folder may hold."""
    cache = ImageCache(len(GOOD) / 1e9, str(folder))
    contents = [bytes([number]) * len(GOOD) for number in range(count)]
    for number, data in enumerate(contents):
        storage.write_bytes(f"{bucket}/fill-{number}.png", data)
        assert cache.read(f"{bucket}/fill-{number}.png", sha(data)) == data
    return contents


def test_other_files_are_never_deleted_whether_they_lie_there_or_are_linked_to(bucket, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    precious = [elsewhere / sha(b"precious"), tmp_path / "cache" / "ab" / "notes.txt"]
    own_folder(tmp_path / "cache").mkdir(parents=True, mode=0o700)
    precious += [own_folder(tmp_path / "cache") / "thesis.txt", own_folder(tmp_path / "cache") / "deeper" / sha(b"x")]
    for file in precious:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"precious" * 1000)
        os.utime(file, (0, 0))
    (own_folder(tmp_path / "cache") / "00").symlink_to(elsewhere)
    (own_folder(tmp_path / "cache") / sha(b"link")).symlink_to(precious[0])
    contents = fill(bucket, tmp_path / "cache")
    assert [file.read_bytes() for file in precious] == [b"precious" * 1000] * 4
    copies = {sha(data) for data in contents} & {file.name for file in own_folder(tmp_path / "cache").iterdir()}
    assert copies == {sha(contents[-1])}


def test_a_copy_that_is_a_link_is_not_followed(bucket, tmp_path):
    (data,) = fill(bucket, tmp_path / "cache", count=1)
    secret = tmp_path / "secret"
    secret.write_bytes(data)
    copy = own_folder(tmp_path / "cache") / sha(data)
    copy.unlink()
    copy.symlink_to(secret)
    storage.delete(f"{bucket}/fill-0.png")
    with pytest.raises(FileNotFoundError):
        ImageCache(1, str(tmp_path / "cache")).read(f"{bucket}/fill-0.png", sha(data))


@pytest.mark.parametrize("kind", ["link", "open to others", "file"])
def test_a_folder_that_others_may_have_made_is_not_used(bucket, tmp_path, caplog, kind):
    elsewhere, own = tmp_path / "elsewhere", own_folder(tmp_path / "cache")
    elsewhere.mkdir()
    own.parent.mkdir()
    if kind == "link":
        own.symlink_to(elsewhere)
    elif kind == "file":
        own.touch()
    else:
        own.mkdir()
        own.chmod(0o777)
    fill(bucket, tmp_path / "cache")
    assert not list(elsewhere.iterdir())
    assert kind != "open to others" or not list(own.iterdir())
    assert [record.message for record in caplog.records if "not cached" in record.message]


def test_the_folder_is_closed_to_others(bucket, tmp_path):
    fill(bucket, tmp_path / "cache", count=1)
    assert own_folder(tmp_path / "cache").stat().st_mode & 0o777 == 0o700
