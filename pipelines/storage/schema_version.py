"""The version of the form in which jobs leave rows, states of a training and `run.json`.

What an earlier version wrote is read by every later one, which `tests/written/` holds against files of each. What a
later version wrote is refused: nobody here can know what it means.
"""

from pipelines.errors.exceptions import RequestError

SCHEMA_VERSION = 1


def check_version(uri: str, found: object) -> None:
    """Raise RequestError where a file says that a later version than this one wrote it."""
    if isinstance(found, int) and found <= SCHEMA_VERSION:
        return
    raise RequestError(
        f"{uri} was written by a later version of upfusion (schema_version {found!r}; this one knows "
        f"{SCHEMA_VERSION}). Update upfusion, or choose another --out."
    )
