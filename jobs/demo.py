"""Entry point of `upfusion demo`: draw a dozen synthetic pairs of a night street and fuse them."""

import sys
from pathlib import Path

from pydantic import Field

from jobs.command_line import job_command
from jobs.fuse import run_fuse
from pipelines.fuse_config import FuseConfig
from pipelines.job_config import JobConfig
from pipelines.night_street import write_archive


class DemoConfig(JobConfig):
    """Where the demo lies and how large it is."""

    out: str = Field("demo", description="Folder for the pairs (archive/) and the results (fused/).")
    count: int = Field(12, ge=1, description="Number of pairs.")


@job_command(DemoConfig, name="demo")
def command(config: DemoConfig, verbose: bool) -> int:
    """Draw synthetic infrared-visible pairs of a night street and fuse them: no data, no network, no GPU."""
    archive, fused = Path(config.out) / "archive", Path(config.out) / "fused"
    write_archive(archive, config.count)
    settings = FuseConfig(
        source=str(archive),
        out=str(fused),
        images="both",
        # An SQLite file beside the results, so that trying the demo leaves nothing elsewhere.
        tracking_uri=f"sqlite:///{Path(config.out).resolve()}/mlflow.db",
    )
    return run_fuse(settings, verbose=verbose)


if __name__ == "__main__":
    sys.exit(command())
