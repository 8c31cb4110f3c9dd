"""The cluster and the CPUs that a job runs on; read without importing Ray, which takes seconds."""

import json
import os
from typing import Any

DESTINATION = "upfusion.destination"
"""Metadata of a Ray job that `upfusion submit` made: where it writes."""


def is_remote() -> bool:
    """Tell whether the environment names a cluster that runs already."""
    return os.environ.get("RAY_ADDRESS", "local") != "local"


def usable_cpus() -> int:
    """Return how many CPUs this process may use; on macOS, which does not say, how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def submitted() -> dict[str, Any]:
    """Return the `metadata` and `runtime_env` of the Ray job that this process is the driver of; empty for none.

    Ray hands them over in the environment.
    """
    runtime_env: dict[str, Any] = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return runtime_env
