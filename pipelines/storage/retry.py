"""What the errors of a store mean, and how long to ask one that is in trouble again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EACCES, EIO, ENOENT, ETIMEDOUT
from http.client import IncompleteRead
from typing import Any, TypeVar

import aiohttp
import botocore.exceptions
import botocore.parsers
import tenacity

from pipelines.errors.redaction import without_secrets

Answer = TypeVar("Answer")

PATIENCE = 60.0
"""Seconds that a job waits for a store that is down, overloaded or breaks connections off."""
PATIENCE_PLANNING = 10.0
"""The same while a request is checked: somebody looks at the screen, and the address may be wrong."""
_patience = PATIENCE

# A store's word that asking again later may help; any status from 500 on says so too.
PASSING_CODES = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "429"}
PASSING_ERRORS: tuple[type[Exception], ...] = (
    botocore.exceptions.ConnectionError,
    botocore.exceptions.HTTPClientError,
    botocore.parsers.ResponseParserError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    IncompleteRead,
    ConnectionError,
    TimeoutError,
)
# No object can be read or written any more, whichever it is.
CREDENTIAL_CODES = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
CREDENTIAL_ERRORS: tuple[type[Exception], ...] = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.TokenRetrievalError,
)
# s3fs raises these without a number.
NUMBERS: dict[type, int] = {FileNotFoundError: ENOENT, PermissionError: EACCES, TimeoutError: ETIMEDOUT}


class CredentialsError(PermissionError):
    """The store knows who asks no longer, or never did: expired, unknown or wrong credentials."""


@contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Wait no longer than this for a store in trouble while the block runs, in this process."""
    global _patience
    before, _patience = _patience, min(seconds, _patience)
    try:
        yield
    finally:
        _patience = before


def ask(uri: str, call: Callable[[], Answer]) -> Answer:
    """Call a store, again for as long as trouble that passes may pass; errors are OSErrors that name the URI."""

    def once() -> Answer:
        try:
            return call()
        except Exception as error:  # noqa: BLE001  # a driver raises what it likes
            named = naming(error, uri)
            raise named from named.__cause__

    return patient(retry=tenacity.retry_if_exception(is_passing), reraise=True)(once)


def patient(**how: Any) -> tenacity.Retrying:
    """Return what calls again until patience ends; `how` is tenacity's, and says what to call again for."""
    # Waits grow and are drawn at random, so that a thousand workers do not come back at the same moment.
    wait = tenacity.wait_random_exponential(multiplier=0.2, max=8)
    return tenacity.Retrying(stop=tenacity.stop_after_delay(_patience), wait=wait, **how)


def is_passing(found: object) -> bool:
    """Tell whether what a store gave is an error that may be gone when it is asked again."""
    return isinstance(found, Exception) and any(
        isinstance(error, PASSING_ERRORS) or _code(error) in PASSING_CODES or _status(error) >= 500
        for error in _causes(found)
    )


def naming(error: Exception, uri: str) -> OSError:
    """Turn what a store's driver raises into an OSError of the same kind that names the URI."""
    if isinstance(error, OSError) and error.filename:
        return error
    number = NUMBERS.get(type(error)) or getattr(error, "errno", None) or EIO
    # What caused it has the store's code (NoSuchBucket); the message beside it may be empty.
    reason = str(error.__cause__ or getattr(error, "strerror", None) or error)
    reason = without_secrets(reason) or type(error).__name__
    unknown = any(isinstance(e, CREDENTIAL_ERRORS) or _code(e) in CREDENTIAL_CODES for e in _causes(error))
    named = CredentialsError(EACCES, reason, uri) if unknown else OSError(number, reason, uri)
    named.__cause__ = error
    return named


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _code(error: BaseException) -> str:
    """Return a store's own word for an error, `SlowDown`."""
    return str(_answer(error).get("Error", {}).get("Code", ""))


def _status(error: BaseException) -> int:
    """Return the HTTP status that a store answered with, 0 where it gave no answer."""
    return int(_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answer(error: BaseException) -> dict[str, Any]:
    return error.response if isinstance(error, botocore.exceptions.ClientError) else {}
