"""Ownership of an output folder: `run.json` holds the settings that affect the result, and their digest."""

import hashlib
import json
from typing import Any

from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from pipelines.storage.schema_version import SCHEMA_VERSION, check_version


class DifferentSettingsError(UsageError):
    """An output folder was made with other settings: `differing` has for each one the value there and the value now."""

    def __init__(self, uri: str, differing: dict[str, tuple[Any, Any]]) -> None:
        advice = "Choose another --out, or use the settings it was made with."
        if set(differing) <= {"images", "format"}:
            advice = f"Its images can be had as other files with: upfusion export {uri} --to FOLDER --format FORMAT"
        values = "; ".join(f"{name}: {there!r} there, {now!r} now" for name, (there, now) in differing.items())
        super().__init__(f"{uri} was made with different settings ({values}). {advice}")
        self.differing = differing


def digest_of(result: dict[str, Any]) -> str:
    """Return the digest of the settings that affect a result."""
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def run_file(uri: str) -> str:
    """Return the URI of a destination's `run.json`."""
    return storage.join(uri, "run.json")


def write_claim(uri: str, run: dict[str, Any]) -> None:
    """Write `run.json`; `run["result"]` holds every setting that affects the result."""
    claim = {"schema_version": SCHEMA_VERSION, **run}
    storage.write_bytes(run_file(uri), (json.dumps(claim, indent=2, ensure_ascii=False) + "\n").encode())


def is_claimed(uri: str, run: dict[str, Any], defaults: dict[str, Any] | None = None) -> bool:
    """Tell whether a destination already belongs to this run; False if it belongs to none.

    A setting that an earlier version did not have counts as its value in `defaults`, so that a new option refuses no
    existing destination.

    Raises DifferentSettingsError if it was made with other ones.
    """
    there = read_claim(uri)
    if there is None:
        return False
    if there["digest"] == run["digest"]:
        return True
    known, now = (defaults or {}) | there["result"], run["result"]
    differing = {
        name: (known.get(name), now.get(name))
        for name in sorted(set(there["result"]) | set(now))
        if known.get(name) != now.get(name)
    }
    if differing:
        raise DifferentSettingsError(uri, differing)
    return True


def read_claim(uri: str) -> dict[str, Any] | None:
    """Read `run.json`; None if there is none.

    Raises UsageError if it was not written by this or an earlier version.
    """
    if not storage.exists(run_file(uri)):
        return None
    try:
        there = json.loads(storage.read_bytes(run_file(uri)))
    except ValueError:
        there = None
    if not isinstance(there, dict) or not isinstance(there.get("result"), dict) or "digest" not in there:
        raise UsageError(f"{run_file(uri)} was not written by an upfusion job; choose another --out")
    check_version(run_file(uri), there.get("schema_version", 0))
    return there
