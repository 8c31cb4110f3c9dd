"""The file systems of URIs, and how each kind of store is reached (docs/stores.md).

Stores are configured by the environment only (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, ...), so that a URI means
the same on the driver and on every worker, and no configuration holds credentials.
"""

import inspect
import logging
import os
import re
from functools import cache
from typing import Any

import fsspec
from fsspec import AbstractFileSystem

from pipelines.errors.exceptions import UsageError
from pipelines.errors.redaction import redact
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

CONNECT_SECONDS, READ_SECONDS = 10, 30
# What lasts longer is retried here. Azure's driver would wait 15, 24 and 42 seconds before it tells.
AZURE_RETRIES, GOOGLE_ATTEMPTS = 0, 2
AZURE_PROTOCOL = ("abfs", "az", "abfss")
GOOGLE, AZURE = ("gs://", "gcs://"), ("az://", "abfs://", "abfss://")

REMOTE = re.compile(r"(?!(?:file|local)://)[A-Za-z][A-Za-z0-9+.-]*://")
HTTP = ("http://", "https://")


def open_store(uri: str) -> tuple[AbstractFileSystem, str]:
    """Return the fsspec file system of a URI, and the path on it.

    Raises UsageError for a store whose driver is not installed, or that the environment says too little about.
    """
    if not is_remote(uri):
        return fsspec.filesystem("file"), absolute(uri)
    # Not url_to_fs, which reads `::` in a key as a chain of file systems.
    if uri.startswith(("s3://", "s3a://")):
        filesystem = fsspec.filesystem("s3", **S3_OPTIONS)
        filesystem.retries = S3_ROUNDS
    elif uri.startswith(GOOGLE):
        filesystem = _google()
    elif uri.startswith(AZURE):
        filesystem = _azure()
    else:
        filesystem, path = fsspec.url_to_fs(uri, **(same_host_only() if uri.startswith(HTTP) else {}))
        return filesystem, path
    return filesystem, filesystem._strip_protocol(uri)


def find_objects(filesystem: AbstractFileSystem, path: str, *, detail: bool = False) -> Any:
    """Find all objects at and below a path: their names, or with `detail` a dictionary of what is known of each.

    Azure's driver takes an object that it cannot look at, as in an outage, for an empty folder, so it is asked first.
    """
    if filesystem.protocol == AZURE_PROTOCOL:
        try:
            about = filesystem.info(path)
        except FileNotFoundError:
            return {}
        if about["type"] == "file":
            return {path: about}
    return filesystem.find(path, detail=detail)


def to_uri(filesystem: AbstractFileSystem, path: str, like: str) -> str:
    """Return the URI of a path on a file system, in Azure's case with the scheme of the URI `like`."""
    if like.startswith(AZURE):  # its driver calls all of them abfs
        return f"{like.partition('://')[0]}://{path}"
    return str(filesystem.unstrip_protocol(path))


def _google() -> AbstractFileSystem:
    import aiohttp

    timeout = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS)
    return _google_driver()(requests_timeout=timeout)


@cache
def _google_driver() -> Any:
    try:
        # Not what fsspec calls gs: that asks another service, which emulators lack, for the kind of each bucket.
        from gcsfs.core import GCSFileSystem
        from gcsfs.retry import retry_request
    except ImportError as error:
        raise UsageError("gs:// needs a package that is not installed: pip install 'upfusion[gcs]'") from error
    # It logs every error with a traceback before it raises it.
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    # It would make six attempts, with half a minute of pauses, below ours; the second is with a new token.
    GCSFileSystem._request = retry_request(retries=GOOGLE_ATTEMPTS)(inspect.unwrap(GCSFileSystem._request))
    return GCSFileSystem


def _azure() -> AbstractFileSystem:
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # what it retries
    try:
        filesystem = fsspec.filesystem("az", connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)
    except ImportError as error:
        raise UsageError("az:// needs a package that is not installed: pip install 'upfusion[azure]'") from error
    except ValueError as error:  # it may repeat what it could not parse
        raise UsageError(
            "az:// needs AZURE_STORAGE_CONNECTION_STRING in the environment, or AZURE_STORAGE_ACCOUNT_NAME with "
            f"AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or an identity ({redact(str(error))})"
        ) from None
    for policy in filesystem.service_client._pipeline._impl_policies:
        if hasattr(policy, "total_retries"):
            policy.total_retries = AZURE_RETRIES
    return filesystem


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
