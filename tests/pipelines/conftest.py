"""What the tests of the stages share."""

from collections.abc import Iterator

import pytest
from botocore.retries.standard import ExponentialBackoff
from s3fs import S3FileSystem

from pipelines.storage import retry
from tests.fault_proxy import FaultProxy
from tests.object_store import ObjectStore

from .blocks import MARKER


@pytest.fixture
def secret(monkeypatch) -> str:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", MARKER)
    return MARKER


@pytest.fixture(scope="module")
def bucket(object_store) -> str:
    return object_store.new_bucket()


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path) -> str:
    return str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('bucket')}/{tmp_path.name}"


@pytest.fixture
def proxy(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A store that fails on demand, and counts its answers; the environment points to it.

    What is tested is that calls are retried, not how long they pause: both retriers pause for a twentieth of the time.
    """
    pause = ExponentialBackoff.delay_amount
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: pause(self, context) / 20)
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", retry.FIRST_PAUSE_SECONDS / 20)
    monkeypatch.setattr(retry, "LONGEST_PAUSE_SECONDS", retry.LONGEST_PAUSE_SECONDS / 20)
    with FaultProxy(object_store.port).running() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        S3FileSystem.clear_instance_cache()
        yield proxy
        S3FileSystem.clear_instance_cache()
