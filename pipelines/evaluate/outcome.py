"""The outcome of an evaluation."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.evaluate.comparison import Comparison
from pipelines.evaluate.detection.detection import Detected
from pipelines.evaluate.findings import Finding
from pipelines.evaluate.folder import EvaluationFolder
from pipelines.evaluate.fusions import Fusions
from pipelines.evaluate.plan import EvaluationPlan
from pipelines.evaluate.rows import FAILED, MISSING


@dataclass(frozen=True)
class Evaluation:
    """The rows of an evaluation, and all that is derived from them."""

    folder: EvaluationFolder
    plan: EvaluationPlan
    rows: pa.Table
    """One row per pair and method (`measured_schema`)."""
    values: pa.Table
    """One row per pair, method and metric (VALUES)."""
    comparisons: list[Comparison]
    detected: list[Detected]
    findings: list[Finding]
    fusions: Fusions
    measured_now: int
    tracked: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Counts of the evaluation."""
        return {
            "sets": len(self.plan.sets),
            "methods": len(self.plan.methods),
            "pairs": len(self.plan.pairs),
            "fusions": len(self.rows),
            "failed": self.failed,
            "missing": len(self.rows.filter(pc.equal(self.rows["status"], MISSING))),
            "values": len(self.values),
        }

    @property
    def failed(self) -> int:
        """Number of fusions without values: an image or a network failed."""
        return len(self.rows.filter(pc.equal(self.rows["status"], FAILED)))
