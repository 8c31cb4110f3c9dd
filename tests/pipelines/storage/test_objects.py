import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.session
import pytest
from s3fs import S3FileSystem

from pipelines.storage import objects as storage
from pipelines.storage.retry import retrying_at_most
from pipelines.storage.stores import S3_OPTIONS

# Each name beside one that a pattern, a query or a percent code in it would stand for.
NAMES = {
    "with space.png": "with+space.png",
    "ünïcode/東京 夜.png": "unicode.png",
    "[ab].png": "a.png",
    "star*.png": "star1.png",
    "what?.png": "whatx.png",
    "both**/[!a]?.png": "both/deep/b1.png",
    "hash#1.png": "hash",
    "percent%20.png": "percent .png",
    "plus+and&=;@,'\"$.png": "plus and.png",
    "chain::s3.png": "chain",
    "{a,b}.png": "a,b.png",
    "back\\slash.png": "back/slash.png",
    "-dash~.png": "dash.png",
}
ACTIONS: dict[str, Callable[[str], object]] = {
    "exists": storage.exists,
    "list_files": storage.list_files,
    "list_versions": storage.list_versions,
    "read_bytes": storage.read_bytes,
    "read_head": lambda uri: storage.read_head(uri, 10),
    "write_bytes": lambda uri: storage.write_bytes(uri, b"data"),
    "delete": storage.delete,
}


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path) -> str:
    """An empty folder, or an empty prefix of a bucket of its own."""
    if request.param == "local":
        return str(tmp_path / "place")
    return request.getfixturevalue("object_store").new_bucket() + "/place"


@pytest.fixture
def fresh_connections() -> Iterator[None]:
    """For tests which change the environment of the store: s3fs keeps what it has read from it."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.fixture
def impatient(monkeypatch) -> Iterator[None]:
    """For tests whose store does not answer."""
    once = {"total_max_attempts": 1, "mode": "standard"}
    quick = {"connect_timeout": 0.2, "read_timeout": 0.2, "retries": once}
    monkeypatch.setitem(S3_OPTIONS, "config_kwargs", quick)
    S3FileSystem.clear_instance_cache()
    with retrying_at_most(0):
        yield
    S3FileSystem.clear_instance_cache()


def test_an_object_is_written_read_listed_and_deleted(place):
    uri = storage.join(place, "deep", "er", "1.bin")
    assert not storage.exists(uri)
    assert storage.list_files(place) == []

    storage.write_bytes(uri, b"one")
    storage.write_bytes(storage.join(place, "2.bin"), b"")
    assert storage.exists(uri)
    assert storage.exists(place)
    assert storage.read_bytes(uri) == b"one"
    assert storage.read_bytes(storage.join(place, "2.bin")) == b""
    assert storage.list_files(place) == [storage.join(place, "2.bin"), uri]
    assert storage.list_files(place + "/") == [storage.join(place, "2.bin"), uri]
    assert storage.list_files(uri) == [uri]

    storage.write_bytes(uri, b"another")
    assert storage.read_bytes(uri) == b"another"

    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)
    assert storage.list_files(place) == [storage.join(place, "2.bin")]


def test_a_listing_does_not_reach_into_a_neighbour_whose_name_begins_alike(place):
    storage.write_bytes(storage.join(place, "night", "1.png"), b"1")
    storage.write_bytes(storage.join(place, "nightly", "2.png"), b"2")
    storage.write_bytes(storage.join(place, "night.png"), b"3")
    assert storage.list_files(storage.join(place, "night")) == [storage.join(place, "night", "1.png")]
    assert not storage.exists(storage.join(place, "nigh"))


@pytest.mark.parametrize("name", NAMES)
def test_every_character_of_a_name_stands_for_itself(place, name):
    uri, decoy = storage.join(place, name), storage.join(place, NAMES[name])
    storage.write_bytes(decoy, b"decoy")
    assert not storage.exists(uri)
    assert storage.list_files(uri) == []
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(uri)
    assert isinstance(storage.read_many([uri])[0], FileNotFoundError)

    storage.write_bytes(uri, b"itself")
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b"itself"
    assert storage.read_many([uri, decoy]) == [b"itself", b"decoy"]
    assert storage.list_files(place) == sorted([uri, decoy])
    assert storage.list_files(uri) == [uri]

    storage.delete(uri)
    assert not storage.exists(uri)
    assert storage.read_bytes(decoy) == b"decoy"


def test_a_folder_name_stands_for_itself(place):
    for folder in ("night [1]*", "night 1", "night [1]x"):
        storage.write_bytes(storage.join(place, folder, "1.png"), folder.encode())
    uri = storage.join(place, "night [1]*")
    assert storage.exists(uri)
    assert storage.list_files(uri) == [storage.join(uri, "1.png")]


def test_many_are_read_in_the_order_asked_for(place):
    uris = [storage.join(place, f"{i}.bin") for i in range(40)]
    for i, uri in enumerate(uris):
        storage.write_bytes(uri, str(i).encode())
    asked = [*reversed(uris), uris[7], uris[7]]
    assert storage.read_many(asked) == [uri.rsplit("/")[-1].removesuffix(".bin").encode() for uri in asked]
    assert storage.read_many([]) == []


def test_the_head_of_an_object_is_read(place):
    for size in (0, 3, 100):
        storage.write_bytes(storage.join(place, str(size)), bytes(range(size)))
        assert storage.read_head(storage.join(place, str(size)), 10) == bytes(range(size))[:10]
    with pytest.raises(FileNotFoundError, match="missing"):
        storage.read_head(storage.join(place, "missing"), 10)


def test_no_more_is_read_of_many_than_was_asked_for(place):
    sizes = (0, 9, 10, 11, 5000)
    uris = [storage.join(place, str(size)) for size in sizes]
    for uri, size in zip(uris, sizes, strict=True):
        storage.write_bytes(uri, b"x" * size)
    *read, eleven, many = storage.read_many(uris, 10)
    assert read == [b"", b"x" * 9, b"x" * 10]
    for uri, error in ((uris[3], eleven), (uris[4], many)):
        assert isinstance(error, storage.TooLargeError)
        assert error.filename == uri
        assert " 10 bytes" in str(error)
    assert isinstance(storage.read_many([storage.join(place, "missing")], 10)[0], FileNotFoundError)
    assert storage.read_many(uris) == [b"x" * size for size in sizes]


@pytest.mark.usefixtures("fresh_connections")
def test_a_store_is_asked_for_one_byte_more_than_the_limit(monkeypatch):
    asked = []

    class SaysWhatIsAsked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Range"])
            self.send_response(206)
            self.send_header("Content-Length", "11")
            self.end_headers()
            self.wfile.write(b"x" * 11)

        def log_message(self, *_: object) -> None:
            pass

    with serving(SaysWhatIsAsked) as endpoint:
        for name, value in credentials(endpoint).items():
            monkeypatch.setenv(name, value)
        (error,) = storage.read_many(["s3://bucket/1"], 10)
    assert isinstance(error, storage.TooLargeError)
    assert asked == ["bytes=0-10"]


def test_what_cannot_be_read_gives_its_exception_in_its_place(place, object_store, tmp_path):
    there, missing = storage.join(place, "there"), storage.join(place, "missing")
    elsewhere = str(tmp_path / "elsewhere")
    no_bucket = f"{object_store.new_bucket()}-not-there/key"
    storage.write_bytes(there, b"there")
    storage.write_bytes(elsewhere, b"elsewhere")

    found = storage.read_many([missing, there, no_bucket, "nosuch://scheme/key", elsewhere])
    assert found[1] == b"there"
    assert found[4] == b"elsewhere"
    for uri, error in ((missing, found[0]), (no_bucket, found[2])):
        assert isinstance(error, FileNotFoundError)
        assert error.filename == uri
        assert uri in str(error)
    assert "NoSuchKey" in str(found[0]) or not storage.is_remote(missing)
    assert "NoSuchBucket" in str(found[2])
    assert isinstance(found[3], ValueError)
    assert "nosuch" in str(found[3])


def test_versions_are_listed_as_files_are(place):
    assert storage.list_versions(place) == {}
    uris = [storage.join(place, *names) for names in (("2.png",), ("10.png",), ("night [1]", "é*.png"), ("empty",))]
    for uri in uris:
        storage.write_bytes(uri, b"" if uri.endswith("empty") else b"1")
    storage.write_bytes(storage.join(f"{place}-too", "1.png"), b"1")
    assert list(storage.list_versions(place)) == storage.list_files(place) == sorted(uris)
    assert list(storage.list_versions(uris[0])) == [uris[0]]


def test_a_version_changes_when_other_bytes_of_the_same_size_are_put(place):
    put_again, left = storage.join(place, "1.png"), storage.join(place, "2.png")
    for uri in (put_again, left):
        storage.write_bytes(uri, b"one")
    before = storage.list_versions(place)
    assert storage.list_versions(place) == before
    storage.write_bytes(put_again, b"two")
    after = storage.list_versions(place)
    assert after[put_again] != before[put_again]
    assert after[left] == before[left]


def test_a_bucket_that_is_not_there_is_no_empty_folder(object_store):
    bucket = object_store.new_bucket()
    assert storage.exists(bucket)
    assert storage.list_files(bucket) == []
    assert not storage.exists(f"{bucket}-not-there")
    with pytest.raises(FileNotFoundError, match="-not-there"):
        storage.list_files(f"{bucket}-not-there/pairs")
    with pytest.raises(FileNotFoundError, match="-not-there"):
        storage.list_versions(f"{bucket}-not-there/pairs")
    with pytest.raises(FileNotFoundError, match="-not-there"):
        storage.write_bytes(f"{bucket}-not-there/key", b"")


def test_the_store_is_asked_afresh(object_store):
    bucket = object_store.new_bucket()
    storage.write_bytes(f"{bucket}/1", b"1")
    assert storage.list_files(bucket) == [f"{bucket}/1"]
    client = botocore.session.Session().create_client("s3")
    client.delete_object(Bucket=bucket.removeprefix("s3://"), Key="1")
    # What consoles put there when somebody makes a folder.
    client.put_object(Bucket=bucket.removeprefix("s3://"), Key="folder/", Body=b"")
    client.close()
    assert not storage.exists(f"{bucket}/1")
    assert storage.list_files(bucket) == []
    assert storage.list_versions(bucket) == {}


def test_an_object_of_several_parts_arrives_whole(object_store):
    uri = f"{object_store.new_bucket()}/large"
    data = os.urandom(1 << 20) * 120
    storage.write_bytes(uri, data)
    assert storage.read_bytes(uri) == data
    assert storage.read_many([uri]) == [data]


@pytest.mark.usefixtures("fresh_connections")
def test_many_are_read_side_by_side(monkeypatch):
    together = threading.Barrier(16)

    class AnswersSixteenAtOnce(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            together.wait(timeout=20)
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.path)))
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(AnswersSixteenAtOnce) as endpoint:
        for name, value in credentials(endpoint).items():
            monkeypatch.setenv(name, value)
        uris = [f"s3://bucket/{i}" for i in range(32)]
        assert storage.read_many(uris) == [f"/bucket/{i}".encode() for i in range(32)]


@pytest.mark.usefixtures("fresh_connections")
def test_a_body_that_breaks_off_is_asked_for_again(monkeypatch):
    asked = []

    class BreaksOffOnce(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "8")
            self.end_headers()
            self.wfile.write(b"thewhole" if asked.count(self.path) > 1 else b"the")

        def log_message(self, *_: object) -> None:
            pass

    with serving(BreaksOffOnce) as endpoint:
        for name, value in credentials(endpoint).items():
            monkeypatch.setenv(name, value)
        assert storage.read_bytes("s3://bucket/1") == b"thewhole"
        assert storage.read_many(["s3://bucket/2", "s3://bucket/3"]) == [b"thewhole"] * 2


@pytest.mark.usefixtures("fresh_connections")
@pytest.mark.parametrize("action", ACTIONS)
def test_wrong_credentials_are_named_and_not_shown(object_store, monkeypatch, action):
    if object_store.kind == "moto":
        pytest.skip("moto accepts any credentials")
    uri = f"{object_store.new_bucket()}/key"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-never-shown")
    with pytest.raises(PermissionError) as caught:
        ACTIONS[action](uri)
    assert caught.value.filename == uri
    assert "never-shown" not in everything_said(caught.value)
    (error,) = storage.read_many([uri])
    assert isinstance(error, PermissionError)
    assert "never-shown" not in everything_said(error)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("action", ACTIONS)
def test_a_store_that_refuses_is_named_and_no_secret_shown(monkeypatch, action):
    settings = credentials("http://127.0.0.1:9")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match=settings["AWS_ENDPOINT_URL"]) as caught:
        ACTIONS[action]("s3://bucket/key")
    assert caught.value.filename == "s3://bucket/key"
    assert "never-shown" not in everything_said(caught.value)


@pytest.mark.usefixtures("impatient")
def test_a_store_that_is_silent_is_given_up_on(monkeypatch):
    asked = []

    class Silent(BaseHTTPRequestHandler):
        def handle(self) -> None:
            asked.append(self.client_address)
            time.sleep(0.4)

    with serving(Silent) as endpoint:
        for name, value in credentials(endpoint).items():
            monkeypatch.setenv(name, value)
        (error,) = storage.read_many(["s3://bucket/key"])
        assert isinstance(error, OSError)
        assert endpoint in str(error)
        assert error.filename == "s3://bucket/key"
        assert "never-shown" not in everything_said(error)
        assert len(asked) == 1


def everything_said(error: Exception) -> str:
    """The exception as a log would show it, with what caused it."""
    return repr(error) + "".join(traceback.format_exception(error))


def credentials(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "secret-never-shown",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


class serving:  # noqa: N801
    """An HTTP server on loopback for as long as a with block lasts; gives its URL."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_port}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
