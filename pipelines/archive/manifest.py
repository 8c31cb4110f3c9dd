"""Reading manifests, which are untrusted: their schema, their URIs and their size are checked."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc
import pyarrow.parquet as pq

from pipelines.archive.allowlist import allowlist_from_location, allowlist_from_option, check_allowed, resolve
from pipelines.archive.config import ArchiveConfig
from pipelines.archive.image_columns import ImageColumns, find_image_columns, image_uris
from pipelines.archive.schema import COLUMNS, DEFAULT_TASK, MANIFEST_SCHEMA, NEEDED, Discovery
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.open_parquet import READ_AHEAD, open_parquet
from upfusion.prompts import TASKS

# The limit of paths; S3 keys are shorter.
LONGEST_VALUE = 4096  # bytes
MOST_TEXT = 4 << 30  # bytes of a manifest

Columns = dict[str, list[str | None]]


def read_manifest(uri: str, archive: ArchiveConfig, id_prefix: str = "") -> Discovery:
    """Read the pairs of a manifest; raises UsageError if it is malformed or names a URI that is not allowed.

    A Parquet file whose images lie in it may have no pair_id: `id_prefix` and the number of the row stand for it.
    """
    try:
        columns, images = _parse_manifest(uri, archive)
    except FileNotFoundError as error:
        raise UsageError(f"the manifest {uri} does not exist") from error
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the store; pyarrow's have none
            raise
        raise UsageError(f"{uri} cannot be read as a manifest: {error}") from error
    rows = len(next(iter(columns.values())))
    if rows == 0:
        raise UsageError(f"the manifest {uri} holds no pairs")
    columns.setdefault("pair_id", [f"{id_prefix}{row:07d}" for row in range(rows)])
    task = images.task if images else None
    columns["task"] = [archive.task or given or task or DEFAULT_TASK for given in columns.get("task", [None] * rows)]
    columns["prompt"] = [prompt or None for prompt in columns.get("prompt", [None] * rows)]
    balances = _balances(uri, columns.pop("balance", [None] * rows))
    _check_rows(uri, columns)
    uris = image_uris(uri, images, rows) if images else _named_uris(uri, columns, archive)
    pairs = pa.table({**columns, **uris, "balance": balances}, schema=MANIFEST_SCHEMA)
    part = archive.part
    pairs = pairs.filter(pa.array([part.contains(str(pair_id)) for pair_id in columns["pair_id"]], pa.bool_()))
    return Discovery(pairs)


def read_manifests(uris: dict[str, str], archive: ArchiveConfig) -> Discovery:
    """Read the pairs of several manifests; `uris` has their names below SOURCE, which ids without a pair_id begin with.

    Raises UsageError as read_manifest does, and for an id that occurs in two of them.
    """
    tables, total = [], 0
    for uri, name in uris.items():
        tables.append(read_manifest(uri, archive, f"{name.removesuffix('.parquet')}/").pairs)
        total += tables[-1].num_rows
        check_count(uri, total, archive.max_pairs)
    pairs = pa.concat_tables(tables)
    counts = pairs.group_by("pair_id").aggregate([([], "count_all")])
    if repeated := counts.filter(compute.greater(counts["count_all"], 1))["pair_id"].to_pylist():
        raise UsageError(f"pair_id {min(repeated)!r} appears in more than one of the files; ids must be unique")
    return Discovery(pairs)


def _named_uris(uri: str, columns: Columns, archive: ArchiveConfig) -> Columns:
    """Return both columns of URIs, resolved; raises UsageError for one that is not allowed."""
    base = uri.rsplit("/", 1)[0]
    allowed = (*allowlist_from_location(uri), *allowlist_from_option(archive.allow))
    uris: Columns = {}
    for side in ("a_uri", "b_uri"):
        resolved = [resolve(base, str(value)) for value in columns[side]]
        check_allowed(uri, ((f"row {row}: {side}", value) for row, value in enumerate(resolved, start=1)), allowed)
        uris[side] = [_as_folder(value, given) for value, given in zip(resolved, columns[side], strict=True)]
    return uris


def _as_folder(uri: str, given: str | None) -> str:
    """Keep the trailing slash that marks a folder of frames."""
    return uri.rstrip("/") + "/" if given and given.endswith("/") else uri


def _parse_manifest(uri: str, archive: ArchiveConfig) -> tuple[Columns, ImageColumns | None]:
    """Return the columns of a manifest, and those of its images where they lie in the file itself."""
    if uri.lower().endswith(".parquet"):
        with storage.open_to_read(uri, READ_AHEAD) as file:
            parquet = open_parquet(file, as_dictionaries=COLUMNS)
            images = find_image_columns(uri, parquet.schema_arrow, archive)
            if images:
                names, table = _parse_parquet(uri, parquet, archive, ["pair_id", "task", "prompt", "balance"])
                columns = _columns(uri, names, table, archive, needed=())
                return {"task": [None] * parquet.metadata.num_rows, **columns}, images
    data = storage.read_bytes(uri)
    if uri.lower().endswith(".parquet"):
        parquet = open_parquet(io.BytesIO(data), as_dictionaries=COLUMNS)
        names, table = _parse_parquet(uri, parquet, archive, COLUMNS)
    else:
        table = pc.read_csv(
            pa.BufferReader(data),
            parse_options=pc.ParseOptions(newlines_in_values=True),
            # Otherwise types are inferred, and 000123 becomes 123.
            convert_options=pc.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string())),
        )
        check_count(uri, table.num_rows, archive.max_pairs)
        names = table.column_names
    return _columns(uri, names, table, archive, needed=NEEDED), None


def _columns(uri: str, names: list[str], table: pa.Table, archive: ArchiveConfig, needed: tuple[str, ...]) -> Columns:
    there = Counter(names)
    if missing := [name for name in needed if name not in there]:
        raise UsageError(
            f"{uri} is not a manifest: expected columns {', '.join(NEEDED)} (and task, prompt, balance), or in a "
            "Parquet file two columns of images (bytes) named after their sensors or by --a and --b; "
            f"missing {', '.join(missing)}; it has {', '.join(map(repr, there))}"
        )
    if repeated := next((name for name in COLUMNS if there[name] > 1), None):
        raise UsageError(f"{uri} has {there[repeated]} columns named {repeated}; expected one")
    return {name: _text(uri, name, table[name], archive) for name in COLUMNS if name in table.column_names}


def _parse_parquet(
    uri: str, file: pq.ParquetFile, archive: ArchiveConfig, columns: list[str]
) -> tuple[list[str], pa.Table]:
    """Return the names of all columns, and those of a manifest."""
    about = file.metadata
    check_count(uri, about.num_rows, archive.max_pairs)
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    _check_text(uri, sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in columns))
    return file.schema_arrow.names, file.read(columns=columns)


def _text(uri: str, name: str, column: pa.ChunkedArray, archive: ArchiveConfig) -> list[str | None]:
    """Return a column as text, after checking its length limits.

    Lengths are checked before the text is materialised: dictionary-encoded, a few bytes of a file can expand to
    terabytes.
    """
    measure = compute.utf8_length if name == "prompt" else compute.binary_length
    known = [_values(chunk) for chunk in column.chunks]
    lengths = pa.chunked_array([measure(values).take(rows).cast(pa.int64()) for values, rows in known], pa.int64())
    limit, said = {
        "pair_id": (archive.max_id, f"bytes, more than --max-id {archive.max_id}"),
        "prompt": (archive.max_prompt, f"characters, more than --max-prompt {archive.max_prompt}"),
    }.get(name, (LONGEST_VALUE, f"bytes, more than {LONGEST_VALUE}"))
    if (compute.max(lengths).as_py() or 0) > limit:
        row = compute.index(compute.greater(lengths, limit), True).as_py()
        raise UsageError(f"{uri}: row {row + 1} has {name} of {lengths[row]} {said}")
    _check_text(uri, compute.sum(lengths).as_py() or 0)
    return [value for values, rows in known for value in values.take(rows).to_pylist()]


def _values(chunk: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the distinct values of a column as text, and the index of each row's value."""
    if isinstance(chunk, pa.DictionaryArray):
        return chunk.dictionary.cast(pa.string()), chunk.indices
    return chunk.cast(pa.string()), pa.array(range(len(chunk)), pa.int64())


def check_count(uri: str, pairs: int, most: int) -> None:
    """Raise UsageError for more pairs than --max-pairs allows."""
    if pairs > most:
        raise UsageError(f"{uri} holds {pairs} pairs, more than --max-pairs {most}")


def _check_text(uri: str, size: int) -> None:
    if size > MOST_TEXT:
        raise UsageError(f"{uri} holds {size >> 20} MiB of text, more than {MOST_TEXT >> 20}; split it")


def _check_rows(uri: str, columns: Columns) -> None:
    for name in NEEDED:
        if name not in columns:
            continue
        if row := next((row for row, value in enumerate(columns[name], start=1) if not value), None):
            raise UsageError(f"{uri}: row {row} has no {name}")
    if duplicate := next(_repeated(columns["pair_id"]), None):
        raise UsageError(f"{uri}: pair_id {duplicate!r} appears more than once; ids must be unique")
    if unknown := set(columns["task"]) - set(TASKS):
        raise UsageError(f"{uri}: unknown task {sorted(map(str, unknown))[0]!r}; known tasks: {', '.join(TASKS)}")


def _balances(uri: str, values: list[str | None]) -> list[float | None]:
    """Return balances as numbers in [-1, 1]; raises UsageError naming the row of one that is not."""
    balances = []
    for row, value in enumerate(values, start=1):
        try:
            balance = float(value) if value else None
        except ValueError:
            balance = float("nan")
        if balance is not None and not -1 <= balance <= 1:
            raise UsageError(f"{uri}: row {row} has balance {value!r}; expected a number from -1 (A) to 1 (B)")
        balances.append(balance)
    return balances


def _repeated(values: Iterable[str | None]) -> Iterator[str]:
    return (str(value) for value, count in Counter(values).items() if count > 1)


def empty_shard(source: str, archive: ArchiveConfig) -> str:
    """Return the message for an archive without pairs in the shard."""
    return f"{source}: none of its pairs is in shard {archive.shard}; use fewer shards for so few pairs"
