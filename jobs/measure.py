"""Entry point of `upfusion measure A B FUSED`: metrics of existing fused images, by any method."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from jobs.command_line import job_command
from jobs.console.fuse import describe_undefined, metrics_table
from jobs.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from jobs.terminal import Terminal
from pipelines.measure.config import MeasureConfig
from upfusion.counted import counted

if TYPE_CHECKING:
    from pipelines.measure.measure import Measured, Measurement

NAMES_SHOWN = 5


@job_command(MeasureConfig, name="measure", positional=("a", "b", "fused"))
def command(config: MeasureConfig, verbose: bool) -> int:  # noqa: ARG001  # every job takes it
    """Measure fused images against their sources: three files, or three folders of files with the same
    names; FUSED may be the DEST of a fuse job.

    Exit codes: 0 all measured, 3 some images could not be, 2 invalid arguments.
    """
    from pipelines.measure.measure import measure_images

    errors = Terminal(stderr=True)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("measuring", total=None)
        measurement = measure_images(config, lambda done, total: progress.update(task, completed=done, total=total))
    if config.as_json:
        sys.stdout.write(json.dumps(_to_json(measurement), indent=2) + "\n")
    else:
        _say(Terminal(), measurement)
    for one in measurement.failed[:NAMES_SHOWN]:
        errors.print(f"{one.triplet.name}: {one.error}", markup=False, highlight=False, soft_wrap=True)
    if len(measurement.failed) > NAMES_SHOWN:
        errors.print(f"and {len(measurement.failed) - NAMES_SHOWN} more could not be measured")
    return EXIT_SOME_FAILED if measurement.failed else EXIT_OK


def _say(console: Console, measurement: "Measurement") -> None:
    measured = [one for one in measurement.measured if not one.error]
    if len(measurement.measured) == 1 and measured:
        console.print(_values_table(measured[0]))
    elif measured:
        console.print(metrics_table(measurement.summary))
        console.print(f"{len(measured)} of {counted(len(measurement.measured), 'fused image')} measured")
        for text in describe_undefined(measurement.undefined, "image"):
            console.print(f"no value of {text}", markup=False, highlight=False, soft_wrap=True)
    if measurement.left_out:
        have, are = ("has no partner", "is") if len(measurement.left_out) == 1 else ("have no partners", "are")
        console.print(f"{counted(len(measurement.left_out), 'image')} {have} and {are} skipped:")
        for uri in measurement.left_out[:NAMES_SHOWN]:
            console.print(f"  {uri}", markup=False, highlight=False, soft_wrap=True)


def _values_table(one: "Measured") -> Table:
    from upfusion.metrics import METRICS

    table = Table("metric", box=None, pad_edge=False)
    table.add_column("value", justify="right")
    table.add_column("", style="dim")
    for name, value in one.values.items():
        meaning = METRICS[name].title if value is not None else f"none: {one.reasons[name]}"
        table.add_row(name, "" if value is None else f"{value:.4f}", meaning)
    return table


def _to_json(measurement: "Measurement") -> dict[str, Any]:
    from upfusion.metrics import METRICS_VERSION

    return {
        "metrics_version": METRICS_VERSION,
        "images": [
            asdict(one.triplet) | {"values": one.values, "reasons": one.reasons, "error": one.error}
            for one in measurement.measured
        ],
        "summary": measurement.summary,
        "left_out": measurement.left_out,
    }


if __name__ == "__main__":
    sys.exit(command())
