"""docs/failures.md against what the stages do: fetch, decode, fuse and write an archive of every kind of file."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from markdown_it import MarkdownIt

from jobs import exit_codes as endings
from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import discover
from pipelines.archive.schema import Discovery
from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import ERROR_CODES
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.plan import plan_fuse
from pipelines.storage.parquet import read_table
from tests.image_files import BAD, MAX_PIXELS, ORDINARY, Builder, coloured, png
from tests.stages import run_stages

PAGE = Path(__file__).parents[3] / "docs" / "failures.md"
MAX_FILE_MB = 16

GOOD = coloured("PNG")


def tables() -> dict[str, dict[str, tuple[str, ...]]]:
    """The tables of the page by the first word of their head, each {first cell: other cells}; no first cell twice."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    cells: list[str] = []
    rows: list[tuple[str, ...]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(PAGE.read_text()):
        if token.type == "inline":
            cells.append(token.content)
        elif token.type == "tr_open":
            cells = []
        elif token.type == "tr_close":
            rows.append(tuple(cells))
        elif token.type == "table_open":
            rows = []
        elif token.type == "table_close":
            (head, *_), *body = rows
            found[head] = {first: tuple(others) for first, *others in body}
            assert len(found[head]) == len(body)
    return found


TABLES = tables()
SOURCES, NAMES = TABLES["a source that is"], TABLES["a name with, or a file named"]


def pair(file: bytes, partner: bytes = GOOD, name: str = "x") -> dict[str, bytes]:
    return {f"visible/{name}.png": file, f"infrared/{name}.png": partner}


def built(builder: Builder) -> Callable[[Path], dict[str, bytes]]:
    return lambda _: pair(builder())


def linked_to(target: str) -> Callable[[Path], dict[str, bytes]]:
    def make(folder: Path) -> dict[str, bytes]:
        (folder / "visible").mkdir()
        (folder / "visible" / "x.png").symlink_to(target)
        return {"infrared/x.png": GOOD}

    return make


def a_named_pipe(folder: Path) -> dict[str, bytes]:
    (folder / "visible").mkdir()
    os.mkfifo(folder / "visible" / "x.png")
    return {"infrared/x.png": GOOD}


def of_size(width: int, height: int) -> dict[str, bytes]:
    file = png(width, height, bytes((width + 1) * height))
    return pair(file, file)


# How the files of each row of the page are made below a folder; what is not here is one of image_files.
MADE_SOURCES: dict[str, Callable[[Path], dict[str, bytes]]] = {
    "1x1 pixels": lambda _: of_size(1, 1),
    "20000x1 pixels": lambda _: of_size(20_000, 1),
    "of another size than its partner": lambda _: pair(GOOD, png(9, 9, bytes(90))),
    "missing": lambda _: pair(GOOD),  # it is deleted once it was listed
    "a link to nowhere": linked_to("nowhere.png"),
    "a link to itself": linked_to("x.png"),
    "a named pipe": a_named_pipe,
    "a file larger than `--max-file-mb`": lambda _: pair(GOOD + bytes(MAX_FILE_MB * 1_000_000)),
    **{kind: built(builder) for kind, builder in ORDINARY.items()},
    **{kind: built(builder) for kind, (builder, _) in BAD.items()},
}
MADE_NAMES: dict[str, dict[str, bytes]] = {
    "spaces": pair(GOOD, name=" two  words "),
    "Unicode": pair(GOOD, name="東京 夜 🌃"),
    "Unicode, NFC on one side and NFD on the other": {
        "visible/caf\u00e9.png": GOOD,
        "infrared/cafe\u0301.png": GOOD,
    },
    "a newline": pair(GOOD, name="two\nlines"),
    "a leading dash": pair(GOOD, name="--out"),
    "255 bytes": pair(GOOD, name="n" * 251),
    "another name but for letter case": pair(GOOD, name="Street") | pair(GOOD, name="street"),
    "an image without a partner": {"visible/alone.png": GOOD},
    "sidecar files (`.xmp`, `.txt`, `.json`)": {f"visible/x.{suffix}": b"{}" for suffix in ("xmp", "txt", "json")},
    "`Thumbs.db`, `desktop.ini`, `.DS_Store`": {
        f"visible/{name}": b"-" for name in ("Thumbs.db", "desktop.ini", ".DS_Store")
    },
    "anything in `__MACOSX/`, `@eaDir/`, `$RECYCLE.BIN/`": {
        f"{folder}/visible/x.png": b"-" for folder in ("__MACOSX", "@eaDir", "$RECYCLE.BIN")
    },
    "`._1.png`, as macOS puts beside `1.png`": {"visible/._1.png": b"-"},
    "two suffixes for one image (`1.png`, `1.jpg`)": pair(GOOD) | {"visible/x.jpg": GOOD},
    "Unicode, NFC and NFD on one side": {"visible/caf\u00e9.png": GOOD, "visible/cafe\u0301.png": GOOD},
    "bytes that are not UTF-8": pair(GOOD, name=os.fsdecode(b"caf\xe9")),
}


def put(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def fused(found: Discovery, out: Path) -> dict[str, dict]:
    """Run the stages of a job over an archive, one after the other, and return its rows."""
    limits = {"max_pixels": MAX_PIXELS, "max_file_mb": MAX_FILE_MB}
    config = FuseConfig(
        source="in", out=str(out), metrics="none", images="both", no_tracking=True, palette_b="none", **limits
    )
    run_stages(plan_fuse(config, found))
    rows = pa.concat_tables(read_table(uri) for uri in Destination(str(out)).pair_files()).to_pylist()
    assert sorted(row["pair_id"] for row in rows) == found.pairs["pair_id"].to_pylist()
    return {row["pair_id"]: row for row in rows}


@pytest.mark.slow
def test_every_kind_of_source_and_name_becomes_what_the_page_says(tmp_path):
    assert set(SOURCES) == set(MADE_SOURCES)
    assert set(NAMES) == set(MADE_NAMES)
    archive = tmp_path / "archive"
    folders = {}
    for number, (kind, make) in enumerate(MADE_SOURCES.items()):
        folders[kind] = folder = archive / f"{number:02}"
        folder.mkdir(parents=True)
        put(folder, make(folder))
    for number, (kind, files) in enumerate(MADE_NAMES.items(), start=len(MADE_SOURCES)):
        if NAMES[kind] != ("refused",):
            folders[kind] = archive / f"{number:02}"
            put(folders[kind], files)
    found = discover(ArchiveConfig(source=str(archive)))
    (folders["missing"] / "visible" / "x.png").unlink()
    rows = fused(found, tmp_path / "out")

    for kind, folder in folders.items():
        expected, *note = SOURCES.get(kind) or NAMES[kind]
        of_kind = [row for pair_id, row in rows.items() if pair_id.startswith(f"{folder.name}/")]
        if expected in ("ignored", "unpaired"):
            assert not of_kind
            continue
        assert of_kind, kind
        for row in of_kind:
            code = None if expected == "fused" else expected.strip("`")
            assert (row["error_code"], row["status"]) == (code, "failed" if code else "ok"), (kind, row["error"])
            assert (row["note"] or "") == "".join(note).strip("`"), kind
            assert not code or "/x.png" in row["error"] or code == "size_mismatch"
    assert found.ignored == sum(len(files) for kind, files in MADE_NAMES.items() if NAMES[kind] == ("ignored",))
    assert found.unpaired == [str(folders["an image without a partner"] / "visible/alone.png")]
    names = [row["fused_uri"] for row in rows.values() if row["fused_uri"]]
    assert len({name.casefold() for name in names}) == len(names)
    assert all(Path(name).is_file() for name in names)


@pytest.mark.parametrize("kind", [kind for kind, becomes in NAMES.items() if becomes == ("refused",)])
def test_what_the_page_calls_refused_is_refused_by_name(tmp_path, kind):
    put(tmp_path, MADE_NAMES[kind])
    with pytest.raises(UsageError, match=r"caf|x\.png and .*x\.jpg|x\.jpg and .*x\.png"):
        discover(ArchiveConfig(source=str(tmp_path)))


def test_two_names_that_look_alike_are_said_to_differ_in_form(tmp_path):
    put(tmp_path, MADE_NAMES["Unicode, NFC and NFD on one side"])
    with pytest.raises(UsageError, match="Unicode"):
        discover(ArchiveConfig(source=str(tmp_path)))


def test_the_page_has_every_error_code_once_with_a_cure_and_no_other():
    codes = TABLES["`error_code`"]
    assert [code.strip("`") for code in codes] == list(ERROR_CODES)
    assert all(len(cell) > 10 for cells in codes.values() for cell in cells)
    assert {expected.strip("`") for expected, _ in SOURCES.values()} <= {"fused", *ERROR_CODES}


def test_the_page_has_every_exit_code_of_the_job():
    ended = {str(code) for name, code in vars(endings).items() if name.startswith("EXIT_")}
    assert set(TABLES["exit code"]) == ended | {"2"}  # click's own, for invalid arguments
