"""Terminal output of a fuse job."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from pipelines.archive.schema import Discovery
    from pipelines.fuse import job as fuse
    from pipelines.fuse.image_pair import FusedPair
    from upfusion.checkpoint import Checkpoint
    from upfusion.registration.verdict import Verdict


NAMES_SHOWN = 5


def print_unpaired(console: Console, found: "Discovery") -> None:
    """Print which images have no partner."""
    if not found.unpaired:
        return
    console.print(f"[yellow]{len(found.unpaired)} images have no partner and are skipped:[/]")
    for uri in found.unpaired[:NAMES_SHOWN]:
        console.print(f"  {uri}", highlight=False, markup=False, soft_wrap=True)
    if len(found.unpaired) > NAMES_SHOWN:
        console.print(f"  and {len(found.unpaired) - NAMES_SHOWN} more")


def warn_of_idle_prompt(console: Console, prompt: str | None, checkpoint: "Checkpoint") -> None:
    """Warn of a prompt for a model on which no text has a measured effect."""
    if prompt and not checkpoint.config.takes_balance:
        name = escape(checkpoint.name)
        console.print(
            f"[yellow]--prompt has no measured effect on the model {name}[/]; it was not trained to follow texts"
        )


def describe_alignment(verdict: "Verdict", source: str) -> str:
    """Say whether an archive is registered, and what to do if it is not."""
    if verdict.unaligned:
        command = escape(f"upfusion align {source} --out rig.json")
        return f"[yellow]A and B are {verdict.describe()}[/]; estimate a rig with: {command}"
    return f"Registration: {verdict.describe()}."


def print_image_pair(console: Console, output: Console, fused: "FusedPair") -> None:
    """Print where the fused image is, with its metrics and notes, or why there is none."""
    row = fused.row
    if row["error_code"]:
        console.print(f"not fused ({row['error_code']}): {row['error']}", style="red", markup=False, soft_wrap=True)
        return
    values = [f"{name} {row[name]:.3f}" for name in fused.metrics if row[name] is not None]
    if values:
        console.print(", ".join(values), markup=False, highlight=False, soft_wrap=True)
    if row["note"]:
        console.print(row["note"], style="yellow", markup=False, highlight=False, soft_wrap=True)
    output.print(f"{fused.uri}  {row['width']}x{row['height']}", markup=False, highlight=False, soft_wrap=True)


def print_outcome(console: Console, outcome: "fuse.Outcome") -> None:
    """Print the outcome of a job. Paths stay on one line, so that they can be copied."""
    if outcome.aggregates:
        console.print(metrics_table(outcome.aggregates))
    done = f"{outcome.ok} of {outcome.pairs} {outcome.unit} fused"
    if before := outcome.pairs - outcome.fused_now:
        done += f" ({before} of the {outcome.unit} were already done)"
    lines = {"Result": f"{done}, [red]{outcome.failed} failed[/]" if outcome.failed else f"[green]{done}[/]"}
    if outcome.failures:
        more = outcome.failed - len(outcome.failures)
        lines["Failures"] = "\n          ".join(
            [*map(escape, outcome.failures), *([f"and {more} more, in the report"] if more else [])]
        )
    if outcome.recordings:
        lines["Joined"] = _describe_recordings(outcome)
    if outcome.unpaired:
        lines["Skipped"] = f"{len(outcome.unpaired)} images without a partner (listed in the report)"
    if outcome.damaged:
        places = ", ".join(outcome.damaged[:NAMES_SHOWN])
        lines["Damaged"] = (
            f"[yellow]{len(outcome.damaged)} files of rows, whose pairs were fused again:[/] {escape(places)}"
        )
    if outcome.fused_now:
        lines["Speed"] = f"{outcome.fused_now / outcome.seconds:.2f} {outcome.unit}/s, start included"
    if outcome.alignment:
        lines["Alignment"] = f"[yellow]{escape(outcome.alignment)}[/]"
    if outcome.first_image:
        lines["Images"] = escape(f"{outcome.destination.images}, such as {outcome.first_image}")
    elif outcome.ok and outcome.unit == "pairs":
        lines["Images"] = escape(f"inside the rows; as files: upfusion export {outcome.destination.uri} --to FOLDER")
    lines["Rows"] = escape(f"{outcome.destination.pairs}/*.parquet")
    if outcome.tracked:
        lines["MLflow"] = escape(outcome.tracked)
    lines["Report"] = escape(outcome.destination.report)
    for heading, text in lines.items():
        console.print(f"[bold]{heading:9s}[/] {text}", highlight=False, soft_wrap=True)


def _describe_recordings(outcome: "fuse.Outcome") -> str:
    """Return how many recordings were joined, and which spans are missing in some."""
    joined = [one for one in outcome.recordings if one["uri"]]
    lines = [escape(f"{len(joined)} of {len(outcome.recordings)} recordings in {outcome.destination.recordings}")]
    incomplete = [one for one in outcome.recordings if one["missing"] or (one["note"] and not one["uri"])]
    shown = incomplete[:NAMES_SHOWN]
    lines += [f"[yellow]{escape(one['recording'])}[/]: {escape(missing_spans(one))}" for one in shown]
    if len(incomplete) > NAMES_SHOWN:
        lines.append(f"and {len(incomplete) - NAMES_SHOWN} more with gaps (recordings/*.json)")
    return "\n          ".join(lines)


def missing_spans(recording: dict[str, Any]) -> str:
    """Return which spans of a recording are missing and why."""
    spans = []
    for span in recording["missing"]:
        start, end = (None if at is None else f"{at:.2f}" for at in (span["from"], span["to"]))
        place = "all of it" if start is None else f"{start} s to {f'{end} s' if end else 'its end'}"
        spans.append(f"{place} ({span['error_code']})")
    return "; ".join(["missing " + ", ".join(spans)] * bool(spans) + [recording["note"]] * bool(recording["note"]))


def metrics_table(aggregates: dict[str, dict[str, float]]) -> Table:
    """Return a table of the distribution of each metric."""
    from upfusion.metrics import METRICS

    table = Table(box=None, pad_edge=False)
    table.add_column("metric", min_width=max(map(len, aggregates)))
    for heading in ("mean", "p5", "median", "p95"):
        table.add_column(heading, justify="right")
    table.add_column("", style="dim", no_wrap=True)
    for name, values in aggregates.items():
        numbers = [f"{values[key]:.3f}" for key in ("mean", "p5", "p50", "p95")]
        lower = " (lower is better)" if METRICS[name].higher_is_better is False else ""
        table.add_row(name, *numbers, METRICS[name].title + lower)
    return table
