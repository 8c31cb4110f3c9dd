"""Telling a store that is away from an object that cannot be read."""

import math
import time
import uuid

from pipelines.storage import objects as storage
from pipelines.storage.retry import is_transient, retrying_at_most

PROBE_SECONDS, PROBE_HOLDS = 5.0, 30.0
"""Seconds to wait for an answer to a probe of a store, and for which the answer holds."""
_probed: dict[str, tuple[float, bool]] = {}
"""When a folder's store was probed, and whether it was away."""


def is_outage(uri: str, error: Exception) -> bool:
    """Tell whether an error of reading an object, which was retried in vain, is the store's and not the object's.

    The store is asked for an object that is not there: an outage leaves that without an answer, too. A host of http is
    no store; a manifest may name a thousand of them, and one that is down concerns its own pairs alone.
    """
    if not storage.is_remote(uri) or uri.startswith(storage.HTTP) or not is_transient(error):
        return False
    folder = uri.rpartition("/")[0]
    probed, is_away = _probed.get(folder, (-math.inf, False))
    if time.monotonic() - probed > PROBE_HOLDS:
        is_away = _is_away(folder)
        _probed[folder] = time.monotonic(), is_away
    return is_away


def _is_away(folder: str) -> bool:
    try:
        with retrying_at_most(PROBE_SECONDS):
            storage.exists(storage.join(folder, f"upfusion-probe-{uuid.uuid4().hex}"))
    except OSError as error:
        return is_transient(error)
    return False
