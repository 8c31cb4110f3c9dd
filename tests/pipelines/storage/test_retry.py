"""Reading and writing while the store has a bad day."""

import time
from concurrent.futures import ThreadPoolExecutor
from errno import EACCES, ENOENT
from io import SEEK_END

import pytest

from pipelines.storage import objects as storage
from pipelines.storage import retry as store_trouble
from pipelines.storage.retry import CredentialsError, retrying_at_most, to_os_error
from tests.fault_proxy import Fault, FaultProxy, at_random, outage
from tests.object_store import ObjectStore

PASSING: list[Fault] = ["slow_down", "reset", "lost_answer", "half_body", "slow_body"]
OBJECTS = 40


@pytest.fixture
def objects(object_store: ObjectStore, proxy: FaultProxy) -> dict[str, bytes]:  # noqa: ARG001  # the proxy comes first
    bucket = object_store.new_bucket()
    objects = {f"{bucket}/{number:02d}": bytes([number]) * 5000 for number in range(OBJECTS)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(storage.write_bytes, objects, objects.values()))
    return objects


@pytest.mark.parametrize("fault", PASSING)
def test_what_breaks_now_and_then_is_asked_for_again(proxy, objects, fault):
    proxy.choose = at_random({fault: 0.3}, seed=7)
    assert storage.read_many(list(objects)) == list(objects.values())
    bucket, few = next(iter(objects)).rpartition("/")[0], list(objects)[:3]
    for uri in few:
        storage.write_bytes(f"{uri}.again", objects[uri])
    assert storage.list_files(bucket) == sorted([*objects, *(f"{uri}.again" for uri in few)])
    for uri in few:
        assert storage.read_bytes(f"{uri}.again") == objects[uri]
        storage.delete(f"{uri}.again")
    assert storage.list_files(bucket) == sorted(objects)
    for uri in few:
        with storage.open_to_read(uri) as file:
            assert (file.seek(-8, SEEK_END), file.read()) == (4992, objects[uri][-8:])
            assert (file.seek(0), file.read()) == (0, objects[uri])
    assert proxy.met[fault] > 5


def test_an_outage_is_waited_for_by_many_at_once(proxy, objects):
    # Long enough, and with requests enough, for botocore's quota of retries to be spent.
    proxy.choose = outage(1.5)
    with ThreadPoolExecutor(4) as pool:
        written = [pool.submit(storage.write_bytes, f"{uri}.new", b"new") for uri in list(objects)[:4]]
        assert storage.read_many(list(objects)) == list(objects.values())
        for future in written:
            future.result()
    assert proxy.met["reset"] > 100


def test_an_outage_that_does_not_end_is_given_up_on_with_its_reason(proxy, objects):
    proxy.choose = outage(1000)
    began = time.monotonic()
    uri = next(iter(objects))
    with retrying_at_most(1.0):
        with pytest.raises(OSError, match=proxy.endpoint) as caught:
            storage.read_bytes(uri)
        assert caught.value.filename == uri
        errors = storage.read_many([uri, f"{uri}.other"])
    assert [error.filename for error in errors if isinstance(error, OSError)] == [uri, f"{uri}.other"]
    assert time.monotonic() - began < 20
    assert store_trouble._retry_seconds == store_trouble.RETRY_SECONDS


def test_what_waiting_cannot_help_is_said_at_once(proxy, objects):
    uri = next(iter(objects))
    asked = []
    proxy.choose = lambda request: asked.append(request) or None
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(f"{uri}.nowhere")
    assert len(asked) == 1

    proxy.choose = lambda request: "read_only" if request.startswith("PUT") else None
    with pytest.raises(PermissionError) as caught:
        storage.write_bytes(uri, b"other")
    assert not isinstance(caught.value, CredentialsError)
    assert proxy.met["read_only"] == 1
    assert storage.read_bytes(uri) == objects[uri]


def test_credentials_that_are_no_longer_good_are_told_from_an_object_that_may_not_be_read(proxy, objects):
    proxy.choose = lambda _: "expired"
    uri = next(iter(objects))
    with pytest.raises(CredentialsError, match="ExpiredToken") as caught:
        storage.read_bytes(uri)
    assert (caught.value.errno, caught.value.filename) == (EACCES, uri)
    assert isinstance(storage.read_many([uri])[0], CredentialsError)
    with pytest.raises(CredentialsError):
        storage.write_bytes(uri, b"other")
    assert proxy.met["expired"] == 3


def test_a_missing_bucket_is_not_named_by_the_path_of_a_request() -> None:
    named = to_os_error(FileNotFoundError("b/nothere/o"), "gs://nothere/in")
    assert (named.errno, named.filename) == (ENOENT, "gs://nothere/in")
    assert "b/nothere/o" not in str(named)
