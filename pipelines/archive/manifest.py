"""Reading manifests, which are untrusted: their schema, their URIs and their size are checked."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as compute
import pyarrow.csv as pc

from pipelines.archive.allowlist import allowlist_from_location, allowlist_from_option, check_allowed, resolve
from pipelines.archive.config import ArchiveConfig
from pipelines.archive.schema import COLUMNS, DEFAULT_TASK, MANIFEST_SCHEMA, NEEDED, Discovery
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.parquet import open_parquet
from upfusion.prompts import TASKS

# The limit of paths; S3 keys are shorter.
LONGEST_VALUE = 4096  # bytes
MOST_TEXT = 4 << 30  # bytes of a manifest


def read_manifest(uri: str, archive: ArchiveConfig) -> Discovery:
    """Read the pairs of a manifest; raises UsageError if it is malformed or names a URI that is not allowed."""
    try:
        data = storage.read_bytes(uri)
    except FileNotFoundError as error:
        raise UsageError(f"the manifest {uri} does not exist") from error
    try:
        columns = _parse_manifest(uri, data, archive)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{uri} cannot be read as a manifest: {error}") from error
    rows = len(columns["pair_id"])
    if rows == 0:
        raise UsageError(f"the manifest {uri} holds no pairs")
    columns["task"] = [archive.task or given or DEFAULT_TASK for given in columns.get("task", [None] * rows)]
    columns["prompt"] = [prompt or None for prompt in columns.get("prompt", [None] * rows)]
    balances = _balances(uri, columns.pop("balance", [None] * rows))
    _check_rows(uri, columns)
    base = uri.rsplit("/", 1)[0]
    allowed = (*allowlist_from_location(uri), *allowlist_from_option(archive.allow))
    for side in ("a_uri", "b_uri"):
        resolved = [resolve(base, str(value)) for value in columns[side]]
        check_allowed(uri, ((f"row {row}: {side}", value) for row, value in enumerate(resolved, start=1)), allowed)
        columns[side] = [_as_folder(value, given) for value, given in zip(resolved, columns[side], strict=True)]
    pairs = pa.table(columns | {"balance": balances}, schema=MANIFEST_SCHEMA)
    part = archive.part
    pairs = pairs.filter(pa.array([part.contains(str(pair_id)) for pair_id in columns["pair_id"]], pa.bool_()))
    if pairs.num_rows == 0:
        raise UsageError(empty_shard(uri, archive))
    return Discovery(pairs)


def _as_folder(uri: str, given: str | None) -> str:
    """Keep the trailing slash that marks a folder of frames."""
    return uri.rstrip("/") + "/" if given and given.endswith("/") else uri


def _parse_manifest(uri: str, data: bytes, archive: ArchiveConfig) -> dict[str, list[str | None]]:
    if uri.lower().endswith(".parquet"):
        names, table = _parse_parquet(uri, data, archive)
    else:
        table = pc.read_csv(
            pa.BufferReader(data),
            parse_options=pc.ParseOptions(newlines_in_values=True),
            # Otherwise types are inferred, and 000123 becomes 123.
            convert_options=pc.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string())),
        )
        names = table.column_names
    check_count(uri, table.num_rows, archive.max_pairs)
    there = Counter(names)
    if missing := [name for name in NEEDED if name not in there]:
        raise UsageError(
            f"{uri} is not a manifest: expected columns {', '.join(NEEDED)} (and task, prompt, balance), "
            f"missing {', '.join(missing)}; it has {', '.join(map(repr, there))}"
        )
    if repeated := next((name for name in COLUMNS if there[name] > 1), None):
        raise UsageError(f"{uri} has {there[repeated]} columns named {repeated}; expected one")
    return {name: _text(uri, name, table[name], archive) for name in COLUMNS if name in there}


def _parse_parquet(uri: str, data: bytes, archive: ArchiveConfig) -> tuple[list[str], pa.Table]:
    """Return the names of all columns, and those of a manifest."""
    file = open_parquet(io.BytesIO(data), as_dictionaries=COLUMNS)
    about = file.metadata
    check_count(uri, about.num_rows, archive.max_pairs)
    groups = [about.row_group(number) for number in range(about.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    _check_text(uri, sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in COLUMNS))
    return file.schema_arrow.names, file.read(columns=COLUMNS)


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


def _check_rows(uri: str, columns: dict[str, list[str | None]]) -> None:
    for name in NEEDED:
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
