"""The page of results: tables, findings, figures."""

import posixpath
from itertools import groupby

from pipelines.evaluate.comparison import overview
from pipelines.evaluate.detection.detection import Detected
from pipelines.evaluate.figures.pictures import headlines
from pipelines.evaluate.findings import Finding, describe_kind, group_findings
from pipelines.evaluate.outcome import Evaluation
from pipelines.evaluate.plan import EvaluationPlan
from pipelines.evaluate.tables import escape_markdown, markdown, markdown_overview, markdown_table
from upfusion.counted import counted

LINES_SHOWN, NAMES_SHOWN = 50, 5


def write_page(evaluation: Evaluation, pictures: list[str]) -> str:
    """Write the page in Markdown; `pictures` are URIs of PNG files below the folder of the page."""
    plan = evaluation.plan
    about = (
        f"Metrics: {', '.join(plan.config.metrics)}. Reference: {escape_markdown(plan.reference)}. Every value is in "
        "`values.parquet`, every mean with its spread and interval in `tables.csv`, the same for print in `tables.tex`."
    )
    sections = [
        f"# Evaluation of {counted(len(plan.methods), 'method')} on {counted(len(plan.sets), 'set')}",
        about,
        _prepared(plan),
        *(markdown_overview(overview(evaluation.comparisons, metric)) for metric in headlines(plan.config.metrics)),
        markdown(evaluation.comparisons),
    ]
    if evaluation.detected:
        sections.append(detection_table(evaluation.detected))
    sections.append(_noticed(evaluation.findings))
    sections.append(_shown(pictures))
    return "\n\n".join(section.strip() for section in sections if section) + "\n"


def _prepared(plan: EvaluationPlan) -> str:
    """Say how A and B were prepared, unless they were taken as they are stored."""
    of_all = plan.sources.changed
    parts = [f"{name} {value}" for name, value in of_all.items()]
    for one in plan.sets:
        own = {name: value for name, value in plan.sources.of(one.name).changed.items() if of_all.get(name) != value}
        parts += [f"{name} of {one.name} {value}" for name, value in own.items()]
    return f"A and B were prepared with: {escape_markdown(', '.join(parts))}." if parts else ""


def detection_table(detected: list[Detected]) -> str:
    """Return a table of average precisions, the best of each set in bold."""
    best = {name: max((one.precision.ap50 or 0) for one in group) for name, group in _by_set(detected)}
    rows = []
    for one in detected:
        precision = one.precision
        numbers = ["-" if value is None else f"{value:.3f}" for value in (precision.ap50, precision.ap)]
        if precision.ap50 and precision.ap50 == best[one.set]:
            numbers[0] = f"**{numbers[0]}**"
        names = [escape_markdown(one.set), escape_markdown(one.method)]
        rows.append([*names, *numbers, str(precision.images), str(precision.people)])
    header = ["set", "images of", "AP at IoU .50", "AP at .50 to .95", "pairs", "people"]
    note = "Average precision of the detector on persons. Rows of a set are over the same pairs."
    return "\n\n".join(["## Pedestrian detection", markdown_table(header, rows), note])


def _by_set(detected: list[Detected]) -> list[tuple[str, list[Detected]]]:
    return [(name, list(group)) for name, group in groupby(detected, key=lambda one: one.set)]


def _noticed(findings: list[Finding]) -> str:
    if not findings:
        return "## Findings\n\nNone: every pair has an image of every method, and all were measured."
    parts = ["## Findings", "All findings are in `findings.csv`."]
    for kind, group in groupby(group_findings(findings), key=lambda one: one.kind):
        lines = list(group)
        count = sum(len(one.names) for one in lines)
        shown = [f"- {escape_markdown(one.line(NAMES_SHOWN))}" for one in lines[:LINES_SHOWN]]
        if len(lines) > LINES_SHOWN:
            shown.append(f"- and {counted(len(lines) - LINES_SHOWN, 'more such line')}")
        parts += [f"{describe_kind(kind, count)}:", "\n".join(shown)]
    return "\n\n".join(parts)


def _shown(pictures: list[str]) -> str:
    lines = [f"![{posixpath.basename(uri)}](pictures/{posixpath.basename(uri)})" for uri in pictures]
    return "\n\n".join(["## Pictures", "Each is also saved as PNG and SVG.", *lines]) if lines else ""
