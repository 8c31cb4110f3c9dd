"""Findings of an evaluation: failed, missing, surplus and unusual files, by name."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, fields

import pyarrow as pa

from pipelines.evaluate.plan import EvaluationPlan
from pipelines.evaluate.rows import FAILED
from upfusion.counted import counted

KINDS = {
    "failed": ("fusion", "without values"),
    "missing": ("pair", "without an image of a method, left out of its comparisons"),
    "extra": ("image", "of no pair of the set"),
    "unpaired": ("source image", "without a partner"),
    "boxes": ("file", "of boxes left out of the detection"),
    "odd": ("unusual fused image", "measured anyway"),
}
"""Every kind of finding, most serious first: what is counted, and its description."""


def describe_kind(kind: str, number: int) -> str:
    """Return a heading for so many findings of a kind."""
    noun, description = KINDS[kind]
    return f"{counted(number, noun)} {description}"


@dataclass(frozen=True)
class Finding:
    """One noteworthy file or pair."""

    kind: str
    set: str
    method: str | None
    what: str
    """The pair or the file."""
    why: str = ""
    """What is wrong."""


@dataclass(frozen=True)
class Group:
    """Findings of one kind, set, method and reason, shown on one line."""

    kind: str
    where: str
    why: str
    names: list[str]

    def line(self, most: int) -> str:
        """Format the group with at most `most` names."""
        more = f" and {len(self.names) - most} more" if len(self.names) > most else ""
        reason = f": {self.why}" if self.why else ""
        return f"{self.where}{reason} ({len(self.names)}: {', '.join(self.names[:most])}{more})"


def group_findings(findings: list[Finding]) -> list[Group]:
    """Group findings that differ only in the file."""
    groups: dict[tuple[str, str, str], Group] = {}
    for one in findings:
        where = f"{one.set}, {one.method}" if one.method else one.set
        groups.setdefault((one.kind, where, one.why), Group(one.kind, where, one.why, [])).names.append(one.what)
    return list(groups.values())


def list_findings(plan: EvaluationPlan, rows: pa.Table, unusable_boxes: dict[str, str]) -> list[Finding]:
    """List the findings, most serious first, each kind in order of set and method."""
    found = [*_of_rows(rows), *_of_files(plan), *_of_boxes(plan, unusable_boxes)]
    order = list(KINDS)
    return sorted(found, key=lambda one: (order.index(one.kind), one.set, one.method or "", one.what))


def _of_rows(rows: pa.Table) -> Iterator[Finding]:
    for row in rows.select(["set", "method", "pair_id", "status", "error", "note"]).to_pylist():
        if row["status"] == FAILED:
            yield Finding("failed", row["set"], row["method"], row["pair_id"], row["error"])
        if row["note"]:
            yield Finding("odd", row["set"], row["method"], row["pair_id"], row["note"])


def _of_files(plan: EvaluationPlan) -> Iterator[Finding]:
    for one in plan.sets:
        for uri in one.unpaired:
            yield Finding("unpaired", one.name, None, uri)
    for (method, name), matched in plan.matched.items():
        ids = next(one.ids for one in plan.sets if one.name == name)
        for pair_id in ids if matched.images else []:
            if pair_id not in matched.images:
                yield Finding("missing", name, method, pair_id)
        for uri in matched.extra:
            yield Finding("extra", name, method, uri)


def _of_boxes(plan: EvaluationPlan, unusable: dict[str, str]) -> Iterator[Finding]:
    for one in plan.sets if plan.detection else ():
        assert plan.detection is not None
        boxes = plan.detection.boxes[one.name]
        for uri, pair_ids in boxes.ambiguous.items():
            yield Finding("boxes", one.name, None, uri, f"could belong to {', '.join(pair_ids)}")
        for uri in boxes.uris.values():
            if uri in unusable:
                yield Finding("boxes", one.name, None, uri, unusable[uri])


def csv_findings(findings: list[Finding]) -> str:
    """Return every finding as a line of CSV."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(field.name for field in fields(Finding))
    writer.writerows([one.kind, one.set, one.method or "", one.what, one.why] for one in findings)
    return text.getvalue()
