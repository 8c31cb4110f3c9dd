"""Retries: which errors of a store are transient, and for how long a call is retried."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EACCES, EIO, ENOENT, ETIMEDOUT
from functools import cache
from http.client import IncompleteRead
from typing import Any, TypeVar

import tenacity

from pipelines.errors.redaction import redact

Answer = TypeVar("Answer")

RETRY_SECONDS = 60.0
"""Seconds for which a job retries a store that is down, overloaded or drops connections."""
RETRY_SECONDS_PLANNING = 10.0
"""The same while arguments are checked: the user is waiting, and the address may be wrong."""
_retry_seconds = RETRY_SECONDS
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 8.0

# Error codes that a retry may cure; so may any HTTP status from 500 on.
TRANSIENT_CODES = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "429"}
# With these no object can be read or written.
CREDENTIAL_CODES = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    # Azure's
    "AuthenticationFailed",
    "InvalidAuthenticationInfo",
    "NoAuthenticationInformation",
}
# Of the drivers of Google, Azure and Hugging Face, which are loaded where they are used.
TRANSIENT_OTHERS = {
    "azure.core.exceptions": ("ServiceRequestError", "ServiceResponseError", "IncompleteReadError"),
    "requests.exceptions": ("ConnectionError", "Timeout", "ChunkedEncodingError"),
    "google.auth.exceptions": ("TransportError",),
    "gcsfs.retry": ("ChecksumError",),
    "httpx": ("TransportError",),  # of Hugging Face's
}
CREDENTIAL_OTHERS = {
    "google.auth.exceptions": ("DefaultCredentialsError", "RefreshError"),
    "azure.identity": ("CredentialUnavailableError",),
}
UNAUTHORIZED, FORBIDDEN, NOT_FOUND, EMPTY_RANGE = 401, 403, 404, 416
TRANSIENT_STATUS = {408, 429}
# s3fs raises these without an errno.
NUMBERS: dict[type, int] = {FileNotFoundError: ENOENT, PermissionError: EACCES, TimeoutError: ETIMEDOUT}


class CredentialsError(PermissionError):
    """Expired, unknown or wrong credentials."""


@contextmanager
def retrying_at_most(seconds: float) -> Iterator[None]:
    """Limit retries of stores to this many seconds while the block runs, in this process."""
    global _retry_seconds
    before, _retry_seconds = _retry_seconds, min(seconds, _retry_seconds)
    try:
        yield
    finally:
        _retry_seconds = before


def with_retries(uri: str, call: Callable[[], Answer]) -> Answer:
    """Call a store, retrying transient errors; errors are raised as OSErrors that name the URI."""

    def once() -> Answer:
        try:
            return call()
        except Exception as error:  # noqa: BLE001  # a driver raises what it likes
            named = to_os_error(error, uri)
            raise named from named.__cause__

    return retrying(retry=tenacity.retry_if_exception(is_transient), reraise=True)(once)


def retrying(**how: Any) -> tenacity.Retrying:
    """Return a tenacity retrier that stops after the retry time; `how` are tenacity's options, such as `retry`."""
    # Exponential backoff with jitter, so that a thousand workers do not retry at the same moment.
    wait = tenacity.wait_random_exponential(multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS)
    return tenacity.Retrying(stop=tenacity.stop_after_delay(_retry_seconds), wait=wait, **how)


def is_transient(found: object) -> bool:
    """Tell whether a result is an error that a retry may cure."""
    if not isinstance(found, Exception):
        return False
    transient = _transient_errors()
    return any(
        isinstance(error, transient)
        or _is_one_of(error, TRANSIENT_OTHERS)
        or _code(error) in TRANSIENT_CODES
        or _status(error) in TRANSIENT_STATUS
        or _status(error) >= 500
        for error in _causes(found)
    )


def is_empty_range(error: Exception) -> bool:
    """Tell a store's answer to a request for a range of an object that is empty."""
    return any(_status(one) == EMPTY_RANGE or "(InvalidRange)" in str(one) for one in _causes(error))


def to_os_error(error: Exception, uri: str) -> OSError:
    """Convert an exception of a store's driver to an OSError of the same kind that names the URI."""
    if isinstance(error, OSError) and error.filename:
        return error
    number = NUMBERS.get(type(error)) or getattr(error, "errno", None) or _number_of(error)
    # The cause has the store's code (NoSuchBucket); the message itself may be empty.
    reason = str(error.__cause__ or getattr(error, "strerror", None) or error)
    if isinstance(error, FileNotFoundError) and error.errno is None and error.__cause__ is None:
        reason = "no such bucket or object"  # Google's driver says the path of its request
    if "\nRequestId:" in reason:  # Azure's message continues with the whole response
        reason = f"{reason.partition(chr(10))[0].strip()} ({_code(error)})"
    reason = redact(reason) or type(error).__name__
    unknown = any(
        isinstance(e, _credential_errors())
        or _is_one_of(e, CREDENTIAL_OTHERS)
        or _code(e) in CREDENTIAL_CODES
        or _status(e) == UNAUTHORIZED
        for e in _causes(error)
    )
    named = CredentialsError(EACCES, reason, uri) if unknown else OSError(number, reason, uri)
    named.__cause__ = error
    return named


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _is_one_of(error: BaseException, names: dict[str, tuple[str, ...]]) -> bool:
    """Tell whether an error is of one of these classes, by module; a module that nobody has loaded raised none."""
    known = ((sys.modules.get(module), classes) for module, classes in names.items())
    return any(isinstance(error, getattr(module, name, ())) for module, classes in known if module for name in classes)


def _number_of(error: Exception) -> int:
    # Google's driver raises an OSError without a number where access is denied.
    if _status(error) == FORBIDDEN or str(error).startswith("Forbidden:"):
        return EACCES
    return ENOENT if _status(error) == NOT_FOUND else EIO


def _code(error: BaseException) -> str:
    """Return a store's error code, such as `SlowDown`."""
    return str(_answer(error).get("Error", {}).get("Code", "") or getattr(error, "error_code", ""))


def _status(error: BaseException) -> int:
    """Return the HTTP status of a store's response, 0 without one."""
    if answer := _answer(error):
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if type(error).__module__.startswith("aiohttp"):
        return 0  # the hosts of single http objects are no stores
    # Of Azure, of Google, of Hugging Face.
    found = getattr(error, "status_code", None) or getattr(error, "code", None)
    found = found or getattr(getattr(error, "response", None), "status_code", None)
    return int(found) if isinstance(found, int | str) and str(found).isdecimal() else 0


def _answer(error: BaseException) -> dict[str, Any]:
    from botocore.exceptions import ClientError

    return error.response if isinstance(error, ClientError) else {}


# The drivers take half a second to import, which files on this machine need not wait for.
@cache
def _transient_errors() -> tuple[type[Exception], ...]:
    import aiohttp
    import botocore.exceptions
    import botocore.parsers

    return (
        botocore.exceptions.ConnectionError,
        botocore.exceptions.HTTPClientError,
        botocore.parsers.ResponseParserError,
        aiohttp.ClientConnectionError,
        aiohttp.ClientPayloadError,
        IncompleteRead,
        ConnectionError,
        TimeoutError,
    )


@cache
def _credential_errors() -> tuple[type[Exception], ...]:
    from botocore import exceptions

    return (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.TokenRetrievalError,
    )
