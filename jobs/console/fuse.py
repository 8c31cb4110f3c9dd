"""Terminal output of a fuse job."""

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upfusion.counted import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipelines.archive.schema import Discovery
    from pipelines.checkpoints.fusion_method import FusionMethod
    from pipelines.fuse import job as fuse
    from pipelines.fuse.config import FuseConfig
    from pipelines.fuse.image_pair import FusedPair
    from pipelines.measure.summary import Undefined
    from upfusion.registration.verdict import Verdict


NAMES_SHOWN = 5


def print_unpaired(console: Console, found: "Discovery") -> None:
    """Print which images have no partner."""
    if not found.unpaired:
        return
    have, are = ("have", "are") if len(found.unpaired) > 1 else ("has", "is")
    console.print(f"[yellow]{counted(len(found.unpaired), 'image')} {have} no partner and {are} skipped:[/]")
    for uri in found.unpaired[:NAMES_SHOWN]:
        console.print(f"  {uri}", highlight=False, markup=False, soft_wrap=True)
    if len(found.unpaired) > NAMES_SHOWN:
        console.print(f"  and {len(found.unpaired) - NAMES_SHOWN} more")


def warn_of_exchange(console: Console, config: "FuseConfig") -> None:
    """Warn of a SOURCE and SOURCE_B whose names say that they are exchanged."""
    console.print(
        f"[yellow]{escape(str(config.source))} is given as source A, whose colour is kept, and "
        f"{escape(str(config.source_b))} as B; their names say the opposite[/]",
        soft_wrap=True,
    )


def warn_of_idle_prompt(console: Console, prompt: str | None, method: "FusionMethod") -> None:
    """Warn of a prompt for a model on which no text has a measured effect."""
    if prompt and not method.takes_prompts:
        name = escape(method.name)
        console.print(
            f"[yellow]--prompt has no measured effect on the model {name}[/]; it was not trained to follow texts"
        )


def describe_alignment(verdict: "Verdict", arguments: str) -> str:
    """Say whether an archive is registered, and what to do if it is not; `arguments` are those of SOURCE."""
    if verdict.unaligned:
        command = escape(f"upfusion align {arguments} --out rig.json")
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
    lines = {"Result": _result(outcome)}
    if outcome.failures:
        more = outcome.failed - len(outcome.failures)
        lines["Failures"] = "\n           ".join(
            [*map(escape, outcome.failures), *([f"and {more} more, in the report"] if more else [])]
        )
    if outcome.undefined:
        lines["No value"] = "\n           ".join(map(escape, describe_undefined(outcome.undefined, _row(outcome))))
    if outcome.recordings:
        lines["Recordings"] = _describe_recordings(outcome)
    if outcome.unpaired:
        lines["Skipped"] = f"{counted(len(outcome.unpaired), 'image')} without a partner (listed in the report)"
    if outcome.damaged:
        places = ", ".join(outcome.damaged[:NAMES_SHOWN])
        files = counted(len(outcome.damaged), "file")
        lines["Damaged"] = f"[yellow]{files} of rows, whose pairs were fused again:[/] {escape(places)}"
    if outcome.frames_now:
        lines["Speed"] = f"{outcome.frames_now / outcome.seconds:.2f} frames/s, start included"
    elif outcome.fused_now and outcome.counts.pairs:
        lines["Speed"] = f"{outcome.fused_now / outcome.seconds:.2f} pairs/s, start included"
    if outcome.price:
        lines["Cost"] = outcome.price.describe()
    if outcome.alignment:
        lines["Alignment"] = f"[yellow]{escape(outcome.alignment)}[/]"
    if outcome.first_image:
        lines["Images"] = escape(f"{outcome.destination.images}, such as {outcome.first_image}")
    elif outcome.counts.ok:
        lines["Images"] = escape(f"inside the rows; as files: upfusion export {outcome.destination.uri} --to FOLDER")
    lines["Rows"] = escape(f"{outcome.destination.pairs}/*.parquet")
    if outcome.tracked:
        lines["MLflow"] = escape(outcome.tracked)
    lines["Report"] = escape(outcome.destination.report)
    for heading, text in lines.items():
        console.print(f"[bold]{heading:10s}[/] {text}", highlight=False, soft_wrap=True)


def _result(outcome: "fuse.Outcome") -> str:
    """Return how many pairs and recordings were fused, failed, and were there before."""
    counts, of_recordings = outcome.counts, outcome.counts.of_recordings
    done, left = [], []
    if counts.pairs:
        done.append(f"{counts.ok} of {counted(counts.pairs, 'pair')}")
        left += [f"{counts.failed} failed"] * bool(counts.failed)
    if of_recordings.recordings:
        done.append(f"{of_recordings.recordings_ok} of {counted(of_recordings.recordings, 'recording')}")
        gaps, failed = of_recordings.recordings_with_gaps, of_recordings.recordings_failed
        left += [f"{counted(gaps, 'recording')} with gaps"] * bool(gaps)
        left += [f"{counted(failed, 'recording')} failed"] * bool(failed)
    text = f"{' and '.join(done)} fused"
    if before := outcome.pairs - outcome.fused_now:
        text += f" ({before} of the {_row(outcome)}s {'was' if before == 1 else 'were'} already done)"
    return f"{text}, [red]{', '.join(left)}[/]" if left else f"[green]{text}[/]"


def _row(outcome: "fuse.Outcome") -> str:
    """Return what a row of the outcome is."""
    if not outcome.counts.of_recordings.recordings:
        return "pair"
    return "row" if outcome.counts.pairs else "segment"


def _describe_recordings(outcome: "fuse.Outcome") -> str:
    """Return where the recordings are, and which spans are missing in some."""
    joined = [one["uri"] for one in outcome.recordings if one["uri"]]
    lines = [escape(f"{outcome.destination.recordings}, such as {joined[0]}")] if joined else ["none could be joined"]
    incomplete = [one for one in outcome.recordings if one["missing"] or (one["note"] and not one["uri"])]
    shown = incomplete[:NAMES_SHOWN]
    lines += [f"[yellow]{escape(one['recording'])}[/]: {escape(missing_spans(one))}" for one in shown]
    if len(incomplete) > NAMES_SHOWN:
        lines.append(f"and {len(incomplete) - NAMES_SHOWN} more with gaps (recordings/*.json)")
    return "\n           ".join(lines)


def missing_spans(recording: dict[str, Any]) -> str:
    """Return which spans of a recording are missing and why."""
    spans = []
    for span in recording["missing"]:
        start, end = (None if at is None else f"{at:.2f}" for at in (span["from"], span["to"]))
        place = "all of it" if start is None else f"{start} s to {f'{end} s' if end else 'its end'}"
        spans.append(f"{place} ({span['error_code']})")
    return "; ".join(["missing " + ", ".join(spans)] * bool(spans) + [recording["note"]] * bool(recording["note"]))


def describe_undefined(undefined: "Mapping[str, Undefined]", noun: str = "row") -> list[str]:
    """Return which metrics have no value on how many pairs and why, metrics that are alike in one line."""
    from pipelines.measure.summary import group_undefined

    return [f"{names} on {counted(one.count, noun)}: {one.describe()}" for names, one in group_undefined(undefined)]


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
