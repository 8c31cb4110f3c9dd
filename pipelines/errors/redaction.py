"""Redaction: credentials in URIs are refused, and secrets are masked in every message, row and log."""

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "***"
# Shorter values ("true", "60") also occur in ordinary sentences.
SHORTEST_SECRET = 8
SECRET_NAME = re.compile(
    r"SECRET|TOKEN|PASSWORD|PASSWD|(?:ACCESS|ACCOUNT|API|PRIVATE)_KEY|CONNECTION_STRING|CREDENTIAL", re.IGNORECASE
)
# AWS_WEB_IDENTITY_TOKEN_FILE, GOOGLE_APPLICATION_CREDENTIALS and the like hold the path of a secret, not a secret.
SECRETS_PLACE = re.compile(r"(?:FILE|PATH|DIR|URL|URI|ENDPOINT|CREDENTIALS)$", re.IGNORECASE)

# A secret key may contain slashes, a password an @. Digits only before a slash are a port.
PASSWORD = re.compile(r"(?P<before>\b\w[\w+.-]*://[^\s/:@]*:)(?P<secret>(?!\d+[/?#])[^\s@]+(?:@[^\s/@]+)*)@")
USER = re.compile(r"(?P<before>\b\w[\w+.-]*://)(?P<secret>[^\s/:@?#]+)@")
# X-Amz-Signature, X-Goog-Credential, AWSAccessKeyId, sig, access_token, ...
SIGNED = re.compile(
    r"(?P<before>[?&;](?:[\w.-]*(?:signature|credential|token|secret|password|access_?key(?:id)?|api_?key)"
    r"|sig|key|auth|pwd)=)(?P<secret>[^&;\s#'\"<>]+)",
    re.IGNORECASE,
)
HEADER = re.compile(r"(?P<before>\bauthorization\b['\"]?\s*[:=]\s*)(?P<secret>.+)", re.IGNORECASE)
BEARER = re.compile(r"(?P<before>\bbearer\s+)(?P<secret>[\w.~+/=-]{8,})", re.IGNORECASE)
# Of Azure's connection strings.
ACCOUNT = re.compile(r"(?P<before>\b(?:AccountKey|SharedAccessSignature)=)(?P<secret>[^;\s'\"]+)", re.IGNORECASE)
WEB = re.compile(r"https?://", re.IGNORECASE)

BY_ENVIRONMENT = (
    "Credentials belong in the environment of the job and its nodes (AWS_ACCESS_KEY_ID, MLFLOW_TRACKING_URI, ...), "
    "not in options or URIs."
)


def holds_credentials(uri: str) -> bool:
    """Tell whether a URI contains a user, a password, a key or a signature; a local path never does."""
    return bool(PASSWORD.search(uri) or USER.search(uri) or (WEB.search(uri) and SIGNED.search(uri)))


def names_secret(name: str) -> bool:
    """Tell whether an environment variable of this name holds a secret, rather than the path of one."""
    return bool(SECRET_NAME.search(name)) and not SECRETS_PLACE.search(name)


def redact(text: str) -> str:
    """Mask the environment's secrets, also URL-encoded or as repr(), and credentials in URLs and headers."""
    for secret in _secrets():
        text = text.replace(secret, MASK)
    text = PASSWORD.sub(rf"\g<before>{MASK}@", text)
    text = USER.sub(_mask_user, text)
    for pattern in (SIGNED, ACCOUNT, HEADER, BEARER):
        text = pattern.sub(rf"\g<before>{MASK}", text)
    return text


def redact_values(value: Any) -> Any:
    """Redact every string in a JSON-like value; field names are ours and are left as they are."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {name: redact_values(one) for name, one in value.items()}
    return [redact_values(one) for one in value] if isinstance(value, list | tuple) else value


def _secrets() -> Iterator[str]:
    """Yield every secret of the environment in every form that it may be written in, the longest first."""
    named = [value for name, value in os.environ.items() if names_secret(name) and len(value) >= SHORTEST_SECRET]
    # The password inside a URL, such as a proxy's, is a secret by itself, too.
    inside = [match["secret"] for value in os.environ.values() if (match := PASSWORD.match(value))]
    inside += [match["secret"] for value in named for match in ACCOUNT.finditer(value)]
    found = {*named, *(secret for secret in inside if len(secret) >= SHORTEST_SECRET)}
    forms = {form for one in found for form in (one, quote(one), quote(one, safe=""), quote_plus(one), repr(one)[1:-1])}
    yield from sorted(forms, key=len, reverse=True)


def _mask_user(match: re.Match[str]) -> str:
    """Mask a user name without a password, which is how tokens are passed."""
    return f"{match['before']}{MASK}@"
