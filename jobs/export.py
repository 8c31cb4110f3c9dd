"""Entry point of `upfusion export DEST --to FOLDER`: images as files or tars, rows as a table."""

import sys

from jobs.command_line import job_command
from jobs.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from jobs.terminal import Terminal
from pipelines.fuse.export_config import ExportConfig
from upfusion.counted import counted

NAMES_SHOWN = 5


@job_command(ExportConfig, name="export", positional=("destination",))
def command(config: ExportConfig, verbose: bool) -> int:  # noqa: ARG001  # every job takes it
    """Write the fused images of a job as files or WebDataset tars, or its rows as a Delta or Iceberg table.

    Images come from the rows or from images/, and are converted with --format.

    Exit codes: 0 all written, 3 some images are no longer there, 2 invalid arguments.
    """
    errors = Terminal(stderr=True)
    what = "row" if config.layout in ("delta", "iceberg") else "image"
    with errors.status("reading rows") as status:
        from pipelines.fuse.export import export

        exported = export(config, lambda count: status.update(f"{counted(count, what)} written"))
    console = Terminal()
    said = f"{counted(exported.count, what)} in {config.to}" + ", unchanged" * exported.unchanged
    console.print(said, markup=False, highlight=False, soft_wrap=True)
    if exported.first:
        console.print(f"the first: {exported.first}", markup=False, highlight=False, soft_wrap=True)
    for reason in exported.unreadable[:NAMES_SHOWN]:
        errors.print(reason, style="red", markup=False, highlight=False, soft_wrap=True)
    if len(exported.unreadable) > NAMES_SHOWN:
        errors.print(f"and {len(exported.unreadable) - NAMES_SHOWN} more that cannot be read")
    return EXIT_SOME_FAILED if exported.unreadable else EXIT_OK


if __name__ == "__main__":
    sys.exit(command())
