"""Entry point of `upfusion export DEST --to FOLDER`: the fused images of a job as files."""

import sys

from jobs.command_line import job_command
from jobs.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from jobs.terminal import Terminal
from pipelines.fuse.export_config import ExportConfig
from upfusion.counted import counted

NAMES_SHOWN = 5


@job_command(ExportConfig, name="export", positional=("destination",))
def command(config: ExportConfig, verbose: bool) -> int:  # noqa: ARG001  # every job takes it
    """Write the fused images of a job as files, from the rows or from its images/, converted with --format.

    Exit codes: 0 all written, 3 some images are no longer there, 2 invalid arguments.
    """
    errors = Terminal(stderr=True)
    with errors.status("reading rows") as status:
        from pipelines.fuse.export import export_images

        exported = export_images(config, lambda count: status.update(f"{counted(count, 'image')} written"))
    console = Terminal()
    console.print(f"{counted(exported.count, 'image')} in {config.to}", markup=False, highlight=False, soft_wrap=True)
    if exported.first:
        console.print(f"the first: {exported.first}", markup=False, highlight=False, soft_wrap=True)
    for reason in exported.unreadable[:NAMES_SHOWN]:
        errors.print(reason, style="red", markup=False, highlight=False, soft_wrap=True)
    if len(exported.unreadable) > NAMES_SHOWN:
        errors.print(f"and {len(exported.unreadable) - NAMES_SHOWN} more that cannot be read")
    return EXIT_SOME_FAILED if exported.unreadable else EXIT_OK


if __name__ == "__main__":
    sys.exit(command())
