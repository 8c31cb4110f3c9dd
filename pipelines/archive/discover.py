"""Discovery of pairs: files are matched by relative path and stem, never by sorting two listings."""

import unicodedata
from pathlib import PurePosixPath

import pyarrow as pa

from pipelines.archive import formats as footage
from pipelines.archive.allowlist import is_manifest
from pipelines.archive.camera_names import Placement, Side
from pipelines.archive.config import ArchiveConfig
from pipelines.archive.manifest import empty_shard, read_manifest, read_manifests
from pipelines.archive.pairing import check_utf8, pair_files
from pipelines.archive.placement import by_key, place_files
from pipelines.archive.schema import DEFAULT_TASK, MANIFEST_SCHEMA, Discovery
from pipelines.archive.sensor_names import SENSORS
from pipelines.archive.tars import list_members
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.parts import PARQUET, TAR
from pipelines.storage.retry import RETRY_SECONDS_PLANNING, retrying_at_most
from upfusion.file_names import is_hidden, is_image_name


@retrying_at_most(RETRY_SECONDS_PLANNING)
def discover(archive: ArchiveConfig, *, recordings: bool = False) -> Discovery:
    """Find the pairs of an archive, including recordings if requested.

    Raises UsageError when there is nothing to pair, when two images match the same side of a pair, or when a
    manifest is malformed.
    """
    source = storage.absolute(archive.source)
    try:
        if archive.source_b is not None:
            found = _pair_two(source, storage.absolute(archive.source_b), archive, recordings)
        elif is_manifest(source):
            found = read_manifest(source, archive)
        else:
            found = _pair_below(source, archive, recordings)
    except OSError as error:
        raise UsageError(f"SOURCE {source} cannot be read: {error.strerror or error}") from error
    if not found.pairs.num_rows:
        raise UsageError(empty_shard(source, archive))
    pairs = found.pairs.sort_by("pair_id")
    return Discovery(pairs.slice(0, archive.limit), found.unpaired, found.ignored)


def check_local_sources(archive: ArchiveConfig) -> None:
    """Raise UsageError for a local SOURCE or SOURCE_B that does not exist: at once, before PyTorch is loaded."""
    for option, source in (("SOURCE", archive.source), ("SOURCE_B", archive.source_b)):
        if source is not None and not storage.is_remote(source):
            _check_exists(storage.absolute(source), option)


def are_exchanged(archive: ArchiveConfig) -> bool:
    """Tell whether SOURCE and SOURCE_B are, or lie in, folders named after the other side, as `infrared/ visible/`."""
    if archive.source_b is None:
        return False
    paths = [PurePosixPath(storage.absolute(one)) for one in (archive.source, archive.source_b)]
    names = [path.parent.name if is_image_name(path.name) else path.name for path in paths]
    return [SENSORS.get(name.lower(), (None, None))[0] for name in names] == ["b", "a"]


def _check_exists(source: str, option: str) -> None:
    if not storage.exists(source):
        raise UsageError(f"{option} {source} does not exist")


def _pair_below(source: str, archive: ArchiveConfig, recordings: bool) -> Discovery:
    names = _names_below(source, "SOURCE")
    if list(names.values()) == [""]:
        if not source.endswith(TAR):
            raise UsageError(
                f"SOURCE {source} is a file; expected a folder, a prefix, a manifest (.parquet or .csv), a .tar (not "
                "compressed), or two files: upfusion fuse visible.jpg infrared.png"
            )
        return _pair_in_tars(source, {source: TAR}, archive)
    if not any(is_image_name(name) or (recordings and footage.is_recording(name)) for name in names.values()):
        seen = {uri: name for uri, name in names.items() if not is_hidden(name)}
        if tars := {uri: name for uri, name in seen.items() if name.endswith(TAR)}:
            return _pair_in_tars(source, tars, archive)
        if tables := {uri: name for uri, name in seen.items() if name.endswith(PARQUET)}:
            return read_manifests(tables, archive)
    return pair_files(source, names, place_files(names, archive), archive, recordings)


def _pair_in_tars(source: str, tars: dict[str, str], archive: ArchiveConfig) -> Discovery:
    """Pair the images in tars as if each were a folder of its name, and those that WebDataset calls key.vis.jpg."""
    if archive.frame_rate:
        raise UsageError(f"{source}: --frame-rate takes folders of numbered images; images in a .tar are pairs")
    names = list_members(tars, most=2 * archive.max_pairs)
    place = place_files(names, archive)
    if archive.a is not None:
        return pair_files(source, names, place, archive, recordings=False)
    return pair_files(source, names, lambda name: by_key(name) or place(name), archive, recordings=False)


def _pair_two(a: str, b: str, archive: ArchiveConfig, recordings: bool) -> Discovery:
    """Pair a file with a file, or those of a folder with those of another that have their path and stem.

    Raises UsageError for a file and a folder, and for files that are neither images nor recordings.
    """
    below: dict[Side, dict[str, str]] = {"a": _names_below(a, "SOURCE"), "b": _names_below(b, "SOURCE_B")}
    are_files = [list(names.values()) == [""] for names in below.values()]
    folders = (PurePosixPath(uri).parent if is_file else uri for uri, is_file in zip((a, b), are_files, strict=True))
    known = (SENSORS.get(PurePosixPath(folder).name.lower(), ("a", None)) for folder in folders)
    task = next((task for _, task in known if task), None)
    if all(are_files):
        return _pair_of_files(a, b, archive.task or task or DEFAULT_TASK, recordings)
    if any(are_files):
        raise UsageError(f"{a} and {b}: one is a file, the other a folder; expected two files or two folders")
    names = {uri: f"{side}/{name}" for side, files in below.items() for uri, name in files.items()}

    def place(name: str) -> Placement:
        side: Side = "a" if name.startswith("a/") else "b"
        return str(PurePosixPath(name[2:]).with_suffix("")), side, task

    return pair_files(f"{a} and {b}", names, place, archive, recordings)


def _pair_of_files(a: str, b: str, task: str, recordings: bool) -> Discovery:
    """Make a pair of two files, whatever their names; it is called after A."""
    for uri in (a, b):
        name = PurePosixPath(uri).name
        if not is_image_name(name) and not (recordings and footage.is_recording(name)):
            raise UsageError(f"{uri} is neither an image nor a recording by its extension")
        check_utf8(uri)
    row = {"pair_id": PurePosixPath(unicodedata.normalize("NFC", a)).stem, "a_uri": a, "b_uri": b, "task": task}
    return Discovery(pa.Table.from_pylist([row], MANIFEST_SCHEMA))


def _names_below(source: str, option: str) -> dict[str, str]:
    """List the files of a folder, or a file itself, with their names below it; raises UsageError if there is none."""
    uris = storage.list_files(source)
    if not uris:
        _check_exists(source, option)
    # By parts, because a store may list objects under another alias of its scheme (s3:// for s3a://).
    depth = len(source.rstrip("/").split("/"))
    # In one Unicode normalization form: macOS decomposes accented characters, other systems do not.
    return {uri: unicodedata.normalize("NFC", "/".join(uri.split("/")[depth:])) for uri in uris}
