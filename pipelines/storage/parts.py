"""URIs of files inside a file: a member of a tar by its byte range, an image in a Parquet file by its row and column.

s3://bucket/shard-000.tar#bytes=1536-21503&name=000123.vis.jpg
s3://bucket/train.parquet#row=12&column=visible
"""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

TAR, PARQUET = ".tar", ".parquet"

_MEMBER = re.compile(r"(?P<file>.+\.tar)#bytes=(?P<first>\d{1,15})-(?P<last>\d{1,15})&name=[^/#]*", re.DOTALL)
_CELL = re.compile(r"(?P<file>.+\.parquet)#row=(?P<row>\d{1,15})&column=(?P<column>[^/#]*)", re.DOTALL)


@dataclass(frozen=True)
class Member:
    """A member of a tar: bytes `start` to `end` (exclusive) of `file`."""

    file: str
    start: int
    end: int


@dataclass(frozen=True)
class Cell:
    """An image in a Parquet file: the bytes in one row of a column, which is binary or a struct with `bytes`."""

    file: str
    row: int
    column: str


def member_uri(file: str, start: int, size: int, name: str) -> str:
    """Return the URI of a member of a tar; its name is there for people, and for its extension."""
    return f"{file}#bytes={start}-{start + size - 1}&name={quote(name, safe='')}"


def cell_prefix(file: str) -> str:
    """Return what the URIs of all images in a Parquet file begin with; a row, and `cell_suffix`, follow."""
    return f"{file}#row="


def cell_suffix(column: str) -> str:
    """Return what the URIs of all images in a column end with."""
    return f"&column={quote(column, safe='')}"


def parse_part(uri: str) -> Member | Cell | None:
    """Parse the URI of a file inside a file; None for any other URI."""
    if "#" not in uri:  # nearly all
        return None
    if found := _MEMBER.fullmatch(uri):
        return Member(found["file"], int(found["first"]), int(found["last"]) + 1)
    if found := _CELL.fullmatch(uri):
        return Cell(found["file"], int(found["row"]), unquote(found["column"]))
    return None


def file_of(uri: str) -> str:
    """Return the URI of the file that a URI reads from: itself, mostly."""
    part = parse_part(uri)
    return uri if part is None else part.file
