"""Which source code is running."""

import os
import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """Return the commit of the source tree this runs from; None outside a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("GIT_COMMIT")
