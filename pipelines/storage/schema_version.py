"""The version of the formats of rows, training states and `run.json`.

Every version reads the files of all earlier ones, which `tests/written/` checks with files of each. Files of a
later version are refused.
"""

from pipelines.errors.exceptions import UsageError

SCHEMA_VERSION = 1


def check_version(uri: str, found: object) -> None:
    """Raise UsageError for a file that a later version wrote."""
    if isinstance(found, int) and found <= SCHEMA_VERSION:
        return
    raise UsageError(
        f"{uri} was written by a later version of upfusion (schema_version {found!r}; this one reads up to "
        f"{SCHEMA_VERSION}). Update upfusion, or choose another --out."
    )
