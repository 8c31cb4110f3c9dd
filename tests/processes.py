"""Jobs as a person starts them: each in a process of its own, with a Ray of its own."""

import os
import subprocess
import sys


def start_job(
    job: str, *arguments: object, store: str | None = None, output: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start `python -m jobs.JOB`, its output in one stream; `store` is another way to the S3 server."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    if store:
        environment["AWS_ENDPOINT_URL"] = store
    command = [sys.executable, "-m", f"jobs.{job}", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
