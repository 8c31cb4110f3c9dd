"""The file systems of URIs, and how each kind of store is reached.

Stores are configured by the environment only (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...), so that a URI means
the same on the driver and on every worker, and no configuration holds credentials.
"""

import os
import re
from typing import Any

import fsspec
from fsspec import AbstractFileSystem

from pipelines.storage.http import same_host_only

# Without timeouts a stuck connection blocks a stage for ever.
S3_OPTIONS: dict[str, Any] = {
    "config_kwargs": {
        "connect_timeout": 10,
        "read_timeout": 30,
        "max_pool_connections": 32,
        # For one page of a long listing. What lasts longer is retried here (RETRY_SECONDS): botocore stops all retries
        # of a process after a hundred failures, a few seconds into an outage.
        "retries": {"total_max_attempts": 3, "mode": "standard"},
    },
    # More than one connection per object costs a HEAD request before every GET.
    "max_concurrency": 1,
}
# s3fs would retry in a third loop what the other two have given up on.
S3_ROUNDS = 1

REMOTE = re.compile(r"(?!(?:file|local)://)[A-Za-z][A-Za-z0-9+.-]*://")
HTTP = ("http://", "https://")


def open_store(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the fsspec file system of a URI, and the path on it."""
    if not is_remote(uri):
        return fsspec.filesystem("file"), absolute(uri)
    if not uri.startswith(("s3://", "s3a://")):
        filesystem, path = fsspec.url_to_fs(uri, **(same_host_only() if uri.startswith(HTTP) else {}))
        return filesystem, path
    # Not url_to_fs, which reads `::` in a key as a chain of file systems.
    filesystem = fsspec.filesystem("s3", **S3_OPTIONS)
    filesystem.retries = S3_ROUNDS
    return filesystem, filesystem._strip_protocol(uri)


def is_remote(uri: str) -> bool:
    """Tell whether a URI is on an object store rather than on the local disk."""
    return REMOTE.match(uri) is not None


def absolute(uri: str) -> str:
    """Make a local path absolute, without its `file://`; leave a remote URI as it is, without its trailing slash."""
    if is_remote(uri):
        return uri.rstrip("/")
    path = uri.removeprefix("file://").removeprefix("local://")
    # resolve() would follow links, and pathlib is as slow as reading a small file.
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111
