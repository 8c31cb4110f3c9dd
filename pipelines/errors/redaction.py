"""What nobody else is to read: secrets are refused inside URIs, and blanked wherever something is said."""

import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

BLANK = "***"
# Shorter values ("true", "60") stand in ordinary sentences too.
SHORTEST_SECRET = 8
SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|ACCESS_KEY|API_KEY|PRIVATE_KEY|CREDENTIAL", re.IGNORECASE)
# AWS_WEB_IDENTITY_TOKEN_FILE and the like say where a secret lies, and GOOGLE_APPLICATION_CREDENTIALS too.
SECRETS_PLACE = re.compile(r"(?:FILE|PATH|DIR|URL|URI|ENDPOINT|CREDENTIALS)$", re.IGNORECASE)

# A secret key may hold slashes, a password an @. What is only digits before a slash is a port.
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
WEB = re.compile(r"https?://", re.IGNORECASE)

BY_ENVIRONMENT = (
    "Credentials belong into the environment of the job and its nodes (AWS_ACCESS_KEY_ID, MLFLOW_TRACKING_URI, ...), "
    "not into options and URIs."
)


def holds_credentials(uri: str) -> bool:
    """Tell whether a URI carries a user, a password, a key or a signature; a path of this machine never does."""
    return bool(PASSWORD.search(uri) or USER.search(uri) or (WEB.search(uri) and SIGNED.search(uri)))


def names_secret(name: str) -> bool:
    """Tell whether a variable of this name holds a secret, rather than the place of one."""
    return bool(SECRET_NAME.search(name)) and not SECRETS_PLACE.search(name)


def without_secrets(text: str) -> str:
    """Blank what the environment calls secret, also as URLs and Python write it, and what URLs and headers carry."""
    for secret in _secrets():
        text = text.replace(secret, BLANK)
    text = PASSWORD.sub(rf"\g<before>{BLANK}@", text)
    text = USER.sub(_blank_user, text)
    for pattern in (SIGNED, HEADER, BEARER):
        text = pattern.sub(rf"\g<before>{BLANK}", text)
    return text


def blanked(value: Any) -> Any:
    """Blank the secrets in every text of a value that JSON can hold; names of fields are the program's own."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {name: blanked(one) for name, one in value.items()}
    return [blanked(one) for one in value] if isinstance(value, list | tuple) else value


def _secrets() -> Iterator[str]:
    """Give every secret of the environment in every form that it may be written in, the longest first."""
    named = [value for name, value in os.environ.items() if names_secret(name) and len(value) >= SHORTEST_SECRET]
    # A password inside a URL, such as a proxy's, is one by itself too.
    inside = [match["secret"] for value in os.environ.values() if (match := PASSWORD.match(value))]
    found = {*named, *(secret for secret in inside if len(secret) >= SHORTEST_SECRET)}
    forms = {form for one in found for form in (one, quote(one), quote(one, safe=""), quote_plus(one), repr(one)[1:-1])}
    yield from sorted(forms, key=len, reverse=True)


def _blank_user(match: re.Match[str]) -> str:
    """Blank a user that stands without a password, which is how tokens are given."""
    return f"{match['before']}{BLANK}@"
