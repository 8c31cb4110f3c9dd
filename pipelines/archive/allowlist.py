"""Where the pairs of a manifest may lie.

A manifest is data that somebody else may have written, and fusing it copies what it names into a destination that
others read. So one that lies in a bucket names objects of that bucket, a local one names local files and objects of
S3, and a person allows anything else by prefix.
"""

import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from pipelines.errors.exceptions import RequestError
from pipelines.errors.redaction import BY_ENVIRONMENT, holds_credentials, without_secrets
from pipelines.storage import objects as storage

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d+)?")
PORTS = {"http": ":80", "https": ":443"}
LOCAL, S3, WEB = "file", "s3", tuple(PORTS)
SAME = {"local": LOCAL, "s3a": S3}
PLAIN_NAME = re.compile(r"\w[\w .-]*")


@dataclass(frozen=True)
class Place:
    """A URI in the form that tells whether one lies below another."""

    scheme: str
    authority: str
    """The bucket or host; none for local files, and for all buckets or hosts of a scheme."""
    parts: tuple[str, ...]

    def holds(self, other: "Place") -> bool:
        """Tell whether another place is this one or lies below it."""
        if (self.scheme, self.authority or other.authority) != (other.scheme, other.authority):
            return False
        return other.parts[: len(self.parts)] == self.parts

    def __str__(self) -> str:
        path = "/".join((self.authority, *self.parts)) if self.scheme != LOCAL else "/" + "/".join(self.parts)
        return path if self.scheme == LOCAL else f"{self.scheme}://{path}"


Places = tuple[Place, ...]
MayRead = Callable[[str], bool]
"""Tells of a URI that stands in a row whether it may be read."""
ANY_LOCAL, ANY_S3 = Place(LOCAL, "", ()), Place(S3, "", ())


def place_of(uri: str) -> Place:
    """Take an absolute URI apart, by the rules of its scheme; raises RequestError where it means no place for sure."""
    scheme = SCHEME.match(uri)
    kind = scheme[1].lower() if scheme else LOCAL
    kind = SAME.get(kind, kind)
    if kind == LOCAL:
        return Place(LOCAL, "", tuple(part for part in storage.absolute(_lower_scheme(uri)).split("/") if part))
    rest = uri[len(scheme[0]) :] if scheme else uri
    if kind != S3 and "::" in rest.partition("]")[2 * rest.startswith("[")]:
        raise RequestError(f"{uri!r} is refused: it chains file systems with ::")
    if kind in WEB:
        return _place_on_host(kind, rest, uri)
    authority, _, path = rest.partition("/")
    if authority.startswith("arn:"):  # an access point, whose name stands behind a slash
        name, _, path = path.partition("/")
        authority += "/" + name
    parts = tuple(path.rstrip("/").split("/")) if path.strip("/") else ()
    if parts and not authority:
        raise RequestError(f"{uri!r} is refused: it names no bucket")
    # A key may have such parts, but a proxy on the way to the store may leave the bucket by them.
    if {".", ".."} & {*parts, authority}:
        raise RequestError(f"{uri!r} is refused: it has a part . or .., which no object should")
    return Place(kind, authority, parts)


def allowed_by_place(manifest: str) -> Places:
    """Return what a manifest may name because of where it lies itself."""
    place = place_of(manifest)
    return (ANY_LOCAL, ANY_S3) if place.scheme == LOCAL else (Place(place.scheme, place.authority, ()),)


def allowed_by_source(source: str) -> Places:
    """Return where the pairs of a SOURCE lie that a person named: below a folder, or beside a manifest."""
    source = storage.absolute(source)
    if not is_manifest(source):
        return (place_of(source),)
    return allowed_by_place(source) if storage.is_remote(source) else (place_of(posixpath.dirname(source)),)


def allowed_by_person(allow: tuple[str, ...]) -> Places:
    """Return what `--allow` says; raises RequestError for a prefix that is none."""
    places = []
    for prefix in allow:
        if not SCHEME.match(prefix) and not prefix.startswith(("/", "~", ".")):
            raise RequestError(f"--allow {prefix}: expected a prefix such as s3://bucket/folder, or a path with a /")
        places.append(place_of(prefix))
    return tuple(places)


def is_manifest(source: str) -> bool:
    """Tell a manifest from a folder by its name."""
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


def check_places(manifest: str, named: Iterable[tuple[str, str]], allowed: Places) -> None:
    """Raise RequestError for the first of a manifest's URIs that carries a secret or lies nowhere that is allowed.

    Each comes with words that say where it stands.
    """
    known: set[str] = set()
    for where, uri in named:
        folder, _, name = uri.rpartition("/")
        # Neighbours of what was allowed, nearly all there are in a large manifest.
        if folder in known and PLAIN_NAME.fullmatch(name):
            continue
        if holds_credentials(uri):
            raise RequestError(f"{manifest}: {where} carries a key, a password or a signature. {BY_ENVIRONMENT}")
        try:
            place = place_of(uri)
        except RequestError as error:
            raise RequestError(f"{manifest}: {where}: {error}") from error
        holder = next((one for one in allowed if one.holds(place)), None)
        if holder is None:
            raise RequestError(
                f"{manifest}: {where}: {uri!r} lies elsewhere, and a manifest names only what lies in its own bucket "
                f"or, if it is local, on this machine and in S3. If you trust it: --allow {_prefix_for(place)}"
            )
        if len(place.parts) > len(holder.parts):
            known.add(folder)


def anything(uri: str) -> bool:  # noqa: ARG001
    """Let every URI be read."""
    return True


def is_allowed(uri: str, allowed: Places) -> bool:
    """Tell whether a URI lies in one of some places."""
    try:
        place = place_of(uri)
    except RequestError:
        return False
    return any(one.holds(place) for one in allowed)


def _place_on_host(scheme: str, rest: str, uri: str) -> Place:
    """Take apart what follows http://, refusing all that two programs could read in two ways."""
    host, path = re.fullmatch(r"([^/?#]*)([^?#]*).*", rest, re.DOTALL).groups()  # type: ignore[union-attr]
    if (host and not HOST.fullmatch(host)) or (path and not host):
        raise RequestError(f"{uri!r} is refused: its host is not one for sure")
    while (decoded := unquote(path)) != path:
        path = decoded
    parts = tuple(path.strip("/").split("/")) if path.strip("/") else ()
    if {".", ".."} & set(parts) or re.search(r"[\\\x00-\x1f]", path):
        raise RequestError(f"{uri!r} is refused: its path has a part . or .., or a backslash")
    return Place(scheme, host.lower().removesuffix(PORTS[scheme]), parts)


def _lower_scheme(uri: str) -> str:
    scheme = SCHEME.match(uri)
    return uri if scheme is None else scheme[0].lower() + uri[len(scheme[0]) :]


def _prefix_for(place: Place) -> str:
    """Propose the narrowest prefix that is of use: a bucket, a host or a folder."""
    parts = place.parts[:-1] if place.scheme == LOCAL else ()
    return without_secrets(str(Place(place.scheme, place.authority, parts)))
