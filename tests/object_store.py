"""A real S3 server for the tests: Ceph RGW where it is installed, moto's server anywhere else.

It ends with this process. `UPFUSION_TEST_STORE=moto` (or `ceph-rgw`) chooses the server; without it the tests take
what is installed.
"""

import os
import uuid
from pathlib import Path

import botocore.session
import pytest

from infra.stack.object_store import S3Server, missing_ceph_programs
from infra.stack.processes import Processes

SWITCH = "UPFUSION_TEST_STORE"
# What a developer has configured for the real S3 must neither break these tests nor be reached by them.
AWS_SETTINGS_IN_THE_WAY = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL_S3",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_CA_BUNDLE",
)


class ObjectStore:
    """A running S3 server, which the environment of this process points to."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._folder = folder
        (folder / "logs").mkdir()
        self._processes = Processes(folder / "logs", bound=True)
        self._server = S3Server(kind, folder, self._processes)
        self.port = self._server.port
        self.endpoint = self._server.endpoint
        self.access_key = self._server.access_key
        self.secret_key = self._server.secret_key
        self._environment_before: dict[str, str | None] = {}

    def start(self) -> None:
        """Start the server and point the environment to it; raises StackError, with nothing left running."""
        try:
            self._server.start()
        except BaseException:
            self.stop()
            raise
        self._set_environment()

    def stop(self) -> None:
        """End every process that was started, and restore the environment."""
        for name, value in self._environment_before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        self._environment_before.clear()
        self._processes.stop()

    def kill(self) -> None:
        """Kill what answers requests; raises StackError for moto, which forgets what it holds."""
        self._server.kill()

    def start_again(self) -> None:
        """Start what was killed, on the same port and with what is stored."""
        self._server.start_again()

    def new_bucket(self, name: str | None = None) -> str:
        """Make a bucket, of its own for a test unless it is named, and return its URI, `s3://name`."""
        name = name or f"test-{uuid.uuid4().hex}"
        client = botocore.session.Session().create_client("s3")
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()
        return f"s3://{name}"

    def _set_environment(self) -> None:
        nowhere = str(self._folder / "no-such-file")
        no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost")))
        settings: dict[str, str | None] = {
            **dict.fromkeys(AWS_SETTINGS_IN_THE_WAY),
            **self._server.environment,
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }
        for name, value in settings.items():
            self._environment_before[name] = os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def chosen_kind() -> str:
    """Tell which server the tests will use: what the switch says, else what is installed."""
    chosen = os.environ.get(SWITCH) or ("moto" if missing_ceph_programs() else "ceph-rgw")
    if chosen not in ("moto", "ceph-rgw"):
        raise pytest.UsageError(f"{SWITCH} is {chosen!r}; expected 'moto' or 'ceph-rgw'")
    return chosen
