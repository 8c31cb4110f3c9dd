"""The allowlist: which URIs a manifest may name.

A manifest is untrusted input, and fusing it copies the objects that it names into a destination that
others can read. So a manifest in a bucket may name objects of that bucket only, a local one local files and objects of
S3; `--allow` adds further prefixes.
"""

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from pipelines.errors.exceptions import UsageError
from pipelines.errors.redaction import BY_ENVIRONMENT, holds_credentials, redact
from pipelines.storage import objects as storage
from pipelines.storage.parts import file_of

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?")
PORTS = {"http": ":80", "https": ":443"}
LOCAL, S3, WEB = "file", "s3", tuple(PORTS)
SAME = {"local": LOCAL, "s3a": S3, "gcs": "gs", "abfs": "az", "abfss": "az"}
PLAIN_NAME = re.compile(r"\w[\w .-]*")


@dataclass(frozen=True)
class UriPrefix:
    """A parsed URI prefix, such that one can tell whether a URI is below another."""

    scheme: str
    authority: str
    """The bucket or host; empty for local files, and for all buckets or hosts of a scheme."""
    parts: tuple[str, ...]

    def contains(self, other: "UriPrefix") -> bool:
        """Tell whether another prefix is this one or below it."""
        if (self.scheme, self.authority or other.authority) != (other.scheme, other.authority):
            return False
        return other.parts[: len(self.parts)] == self.parts

    def __str__(self) -> str:
        path = "/".join((self.authority, *self.parts)) if self.scheme != LOCAL else "/" + "/".join(self.parts)
        return path if self.scheme == LOCAL else f"{self.scheme}://{path}"


Allowlist = tuple[UriPrefix, ...]
MayRead = Callable[[str], bool]
"""Tells whether a URI in a row may be read."""
ANY_LOCAL, ANY_S3 = UriPrefix(LOCAL, "", ()), UriPrefix(S3, "", ())


def to_uri_prefix(uri: str) -> UriPrefix:
    """Parse an absolute URI by the rules of its scheme; raises UsageError for an ambiguous one.

    A file inside a file lies where that does.
    """
    uri = file_of(uri)
    scheme = SCHEME.match(uri)
    kind = scheme[1].lower() if scheme else LOCAL
    kind = SAME.get(kind, kind)
    if kind == LOCAL:
        return UriPrefix(LOCAL, "", tuple(part for part in storage.absolute(_lower_scheme(uri)).split("/") if part))
    rest = uri[len(scheme[0]) :] if scheme else uri
    if kind != S3 and "::" in rest.partition("]")[2 * rest.startswith("[")]:
        raise UsageError(f"{uri!r} is refused: it chains file systems with ::")
    if kind in WEB:
        return _parse_web_prefix(kind, rest, uri)
    authority, _, path = rest.partition("/")
    if authority.startswith("arn:"):  # an access point: its name follows a slash
        name, _, path = path.partition("/")
        authority += "/" + name
    parts = tuple(path.rstrip("/").split("/")) if path.strip("/") else ()
    if parts and not authority:
        raise UsageError(f"{uri!r} is refused: it names no bucket")
    # Legal in a key, but a proxy in front of the store may resolve them to a path outside the bucket.
    if {".", ".."} & {*parts, authority}:
        raise UsageError(f"{uri!r} is refused: it has a part . or .., which no object should")
    return UriPrefix(kind, authority, parts)


def allowlist_from_location(manifest: str) -> Allowlist:
    """Return what a manifest may name by default, given its own location."""
    place = to_uri_prefix(manifest)
    return (ANY_LOCAL, ANY_S3) if place.scheme == LOCAL else (UriPrefix(place.scheme, place.authority, ()),)


def allowlist_from_source(source: str) -> Allowlist:
    """Return the prefixes that a SOURCE on the command line allows: its folder, or the folder of a manifest."""
    source = storage.absolute(source)
    if not is_manifest(source):
        return (to_uri_prefix(source),)
    return allowlist_from_location(source) if storage.is_remote(source) else (to_uri_prefix(posixpath.dirname(source)),)


def allowlist_from_option(allow: tuple[str, ...]) -> Allowlist:
    """Return the prefixes of `--allow`; raises UsageError for an invalid one."""
    places = []
    for prefix in allow:
        if not SCHEME.match(prefix) and not prefix.startswith(("/", "~", ".")):
            raise UsageError(f"--allow {prefix}: expected a prefix such as s3://bucket/folder, or a path with a /")
        places.append(to_uri_prefix(prefix))
    return tuple(places)


def is_manifest(source: str) -> bool:
    """Tell whether a SOURCE is a manifest, by its extension."""
    return source.lower().endswith((".parquet", ".csv"))


def resolve(base: str, uri: str) -> str:
    """Resolve a URI of a manifest against the folder that the manifest lies in."""
    if SCHEME.match(uri):
        uri = _lower_scheme(uri)
        return uri if storage.is_remote(uri) else storage.absolute(uri)
    if uri.startswith("/"):
        return uri
    scheme, mark, folder = base.rpartition("://")
    # An object store takes `..` for a folder of that name.
    return scheme + mark + posixpath.normpath(f"{folder}/{uri}")


def check_allowed(manifest: str, named: Iterable[tuple[str, str]], allowed: Allowlist) -> None:
    """Raise UsageError for the first of a manifest's URIs that contains a secret or is outside the allowlist.

    `named` yields (where the URI occurs, URI).
    """
    known: set[str] = set()
    for where, uri in named:
        folder, _, name = uri.rpartition("/")
        # In a folder that was allowed before: nearly all URIs of a large manifest.
        if folder in known and PLAIN_NAME.fullmatch(name):
            continue
        if holds_credentials(uri):
            raise UsageError(f"{manifest}: {where} contains a key, a password or a signature. {BY_ENVIRONMENT}")
        try:
            place = to_uri_prefix(uri)
        except UsageError as error:
            raise UsageError(f"{manifest}: {where}: {error}") from error
        holder = next((one for one in allowed if one.contains(place)), None)
        if holder is None:
            raise UsageError(
                f"{manifest}: {where}: {uri!r} is outside the allowed locations: a manifest may name only "
                "objects of its own bucket or, if it is a local file, local files and S3 objects. If you trust it: "
                f"--allow {_prefix_for(place)}"
            )
        if len(place.parts) > len(holder.parts):
            known.add(folder)


def allow_all(uri: str) -> bool:  # noqa: ARG001
    """Allow every URI."""
    return True


def is_allowed(uri: str, allowed: Allowlist) -> bool:
    """Tell whether a URI is below one of the allowed prefixes."""
    try:
        place = to_uri_prefix(uri)
    except UsageError:
        return False
    return any(one.contains(place) for one in allowed)


def _parse_web_prefix(scheme: str, rest: str, uri: str) -> UriPrefix:
    """Parse what follows http://; refuse everything that two URL parsers could read differently."""
    host, path = re.fullmatch(r"([^/?#]*)([^?#]*).*", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    if (host and not HOST.fullmatch(host)) or (path and not host):
        raise UsageError(f"{uri!r} is refused: its host is ambiguous")
    while (decoded := unquote(path)) != path:
        path = decoded
    parts = tuple(path.strip("/").split("/")) if path.strip("/") else ()
    if {".", ".."} & set(parts) or re.search(r"[\\\x00-\x1f]", path):
        raise UsageError(f"{uri!r} is refused: its path has a part . or .., or a backslash")
    return UriPrefix(scheme, host.lower().removesuffix(PORTS[scheme]), parts)


def _lower_scheme(uri: str) -> str:
    scheme = SCHEME.match(uri)
    return uri if scheme is None else scheme[0].lower() + uri[len(scheme[0]) :]


def _prefix_for(place: UriPrefix) -> str:
    """Suggest the narrowest useful prefix: a bucket, a host or a folder."""
    parts = place.parts[:-1] if place.scheme == LOCAL else ()
    return redact(str(UriPrefix(place.scheme, place.authority, parts)))
