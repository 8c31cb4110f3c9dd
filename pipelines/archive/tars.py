"""The images in tars: their names and byte ranges, from the headers alone."""

import tarfile
import unicodedata
from concurrent.futures import ThreadPoolExecutor

from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.parts import TAR, member_uri
from upfusion.file_names import is_image_name

# Headers are some hundred bytes, each in front of its image; of a store, one request is made per header.
_AHEAD = 1 << 15
_AT_ONCE = 16


def list_members(tars: dict[str, str], most: int) -> dict[str, str]:
    """List the URIs of all images in tars, each with its name: the tar's own without .tar as a folder, then its path.

    `tars` are URIs with their names below SOURCE. Raises UsageError for a damaged or compressed tar, and for more than
    `most` images.
    """
    members: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        for (uri, name), found in zip(tars.items(), pool.map(lambda uri: _images_in(uri, most), tars), strict=True):
            folder = name.removesuffix(TAR)
            members |= {member: f"{folder}/{path}".lstrip("/") for member, path in found.items()}
            if len(members) > most:
                raise UsageError(f"{uri}: more than {most} images; raise --max-pairs or select fewer tars")
    return members


def _images_in(uri: str, most: int) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        with storage.open_to_read(uri, _AHEAD) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) and len(found) <= most:
                tar.members = []  # type: ignore[attr-defined]  # all headers would stay in memory
                path = unicodedata.normalize("NFC", member.name.removeprefix("./"))
                if member.isreg() and not member.sparse and is_image_name(path):
                    found[member_uri(uri, member.offset_data, member.size, path)] = path
    except tarfile.TarError as error:
        raise UsageError(
            f"{uri} cannot be read as a tar ({error}): expected one that is complete and not compressed"
        ) from error
    return found
