"""What the tests of the stages share."""

import pytest

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
