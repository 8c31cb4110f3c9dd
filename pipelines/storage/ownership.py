"""Whom a destination belongs to: `run.json`, with the digest of every setting that changes what comes out."""

import hashlib
import json
from typing import Any

from pipelines.errors.exceptions import RequestError
from pipelines.storage import objects as storage
from pipelines.storage.schema_version import SCHEMA_VERSION, check_version


def digest_of(result: dict[str, Any]) -> str:
    """Digest the settings that change a result."""
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def run_file(uri: str) -> str:
    """Return where the claim on a destination lies."""
    return storage.join(uri, "run.json")


def write_claim(uri: str, run: dict[str, Any]) -> None:
    """Claim a destination for a run, whose `result` holds every setting that changes a result."""
    claim = {"schema_version": SCHEMA_VERSION, **run}
    storage.write_bytes(run_file(uri), (json.dumps(claim, indent=2, ensure_ascii=False) + "\n").encode())


def is_claimed(uri: str, run: dict[str, Any]) -> bool:
    """Tell whether a destination belongs to this run already; False where it belongs to none.

    Raises RequestError, naming the settings that differ, when it belongs to another one.
    """
    there = read_claim(uri)
    if there is None:
        return False
    if there["digest"] == run["digest"]:
        return True
    names = sorted(set(there["result"]) | set(run["result"]))
    differing = [
        f"{name}: {there['result'].get(name)!r} there, {run['result'].get(name)!r} now"
        for name in names
        if there["result"].get(name) != run["result"].get(name)
    ]
    raise RequestError(
        f"{uri} belongs to a run with other settings ({'; '.join(differing)}). "
        "Choose another --out, or give the settings that are there."
    )


def read_claim(uri: str) -> dict[str, Any] | None:
    """Read whom a destination belongs to; None where that is nobody.

    Raises RequestError where no job of this or an earlier version wrote it.
    """
    if not storage.exists(run_file(uri)):
        return None
    try:
        there = json.loads(storage.read_bytes(run_file(uri)))
    except ValueError:
        there = None
    if not isinstance(there, dict) or not isinstance(there.get("result"), dict) or "digest" not in there:
        raise RequestError(f"{run_file(uri)} was not written by an upfusion job; choose another --out")
    check_version(run_file(uri), there.get("schema_version", 0))
    return there
