"""What Google's and Azure's stores must do as S3 does, each where its server is installed."""

from collections.abc import Iterator

import pyarrow as pa
import pytest

from pipelines.archive.allowlist import is_allowed, to_uri_prefix
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.create import create_bytes
from pipelines.storage.parquet import read_table, write_table
from pipelines.storage.retry import CredentialsError, retrying_at_most
from tests.fault_proxy import Fault
from tests.other_stores import KINDS, OtherStore, broken, serve
from tests.pipelines.storage.racing import race_to_create

ODD = "in/a b#?%20ü*[1].txt"


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OtherStore]:
    with serve(request.param, tmp_path_factory.mktemp(request.param)) as store, store.reached_at(store.port):
        yield store


def test_objects_are_written_listed_read_and_deleted(store: OtherStore) -> None:
    folder = f"{store.bucket}/objects"
    assert not storage.exists(folder)
    assert storage.list_files(folder) == []
    uris = [f"{folder}/{ODD}", f"{folder}/in/empty"]
    for uri, data in zip(uris, (b"hello", b""), strict=True):
        storage.write_bytes(uri, data)
        assert storage.exists(uri)
        assert storage.read_bytes(uri) == data
        assert storage.read_head(uri, 3) == data[:3]
    assert storage.list_files(folder) == uris
    versions = storage.list_versions(folder)
    storage.write_bytes(uris[0], b"other")
    assert [name for name, version in storage.list_versions(folder).items() if versions[name] != version] == uris[:1]
    with storage.open_to_read(uris[0], 1 << 15) as file:
        file.seek(1)
        assert file.read(3) == b"the"
    storage.delete(uris[0])
    storage.delete(uris[0])
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(uris[0])
    with pytest.raises(FileNotFoundError):
        create_bytes(f"{store.bucket}-not/x", b"")


def test_many_are_read_at_once_and_each_has_its_own_error(store: OtherStore) -> None:
    uris = [f"{store.bucket}/many/{name}" for name in ("empty", "short", "long", "none")]
    for uri, data in zip(uris, (b"", b"ab", b"abcdef"), strict=False):
        storage.write_bytes(uri, data)
    empty, short, long, none = storage.read_many(uris, 3)
    assert (empty, short) == (b"", b"ab")
    assert isinstance(long, storage.TooLargeError)
    assert isinstance(none, FileNotFoundError)


def test_of_several_writers_at_once_one_succeeds(store: OtherStore) -> None:
    made = race_to_create(f"{store.bucket}/once")
    assert len(made) == 1
    assert storage.read_bytes(f"{store.bucket}/once") == str(made[0]).encode()


@pytest.mark.parametrize("fault", ["slow_down", "reset", "lost_answer", "half_body"])
def test_what_passes_is_retried(store: OtherStore, fault: Fault) -> None:
    uri = f"{store.bucket}/{fault}"
    storage.write_bytes(uri, b"there")
    with broken(store) as proxy:
        faults: Iterator[Fault] = iter([fault])
        proxy.choose = lambda _: next(faults, None)
        assert storage.read_bytes(uri) == b"there"
        faults = iter([fault])
        assert create_bytes(f"{uri}-created", b"mine")
        assert not create_bytes(f"{uri}-created", b"theirs")
        faults = iter([fault])
        assert storage.list_files(uri) == [uri]
        faults = iter([fault])
        assert list(storage.list_versions(uri)) == [uri]
    assert proxy.met[fault] == 4


def test_a_store_that_is_away_is_an_error_and_its_secrets_stay_where_they_are(store: OtherStore) -> None:
    with broken(store) as proxy, retrying_at_most(1):
        proxy.choose = lambda _: "reset"
        with pytest.raises(OSError, match="away") as caught:
            storage.read_bytes(f"{store.bucket}/away")
    assert not isinstance(caught.value, FileNotFoundError | CredentialsError)
    assert "Eby8" not in str(caught.value)


def test_tables_are_read_by_column(store: OtherStore) -> None:
    uri = f"{store.bucket}/rows.parquet"
    write_table(uri, pa.table({"pair_id": ["x"], "fused": [bytes(300_000)]}))
    assert read_table(uri, ["pair_id"]).to_pylist() == [{"pair_id": "x"}]


def test_a_store_without_settings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    adlfs = pytest.importorskip("adlfs", reason="adlfs is not installed")
    for name in ("ACCOUNT_NAME", "ACCOUNT_KEY"):
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=swordfish")
    adlfs.AzureBlobFileSystem.clear_instance_cache()
    with pytest.raises(UsageError, match="AZURE_STORAGE_ACCOUNT_NAME") as caught:
        storage.exists("az://box/x")
    assert "swordfish" not in str(caught.value)


def test_aliases_of_a_scheme_are_one_place() -> None:
    assert is_allowed("abfss://box/a/1.png", (to_uri_prefix("az://box/a"),))
    assert is_allowed("gcs://box/a/1.png", (to_uri_prefix("gs://box"),))
    assert not is_allowed("gs://box/a/1.png", (to_uri_prefix("az://box"), to_uri_prefix("s3://box")))
