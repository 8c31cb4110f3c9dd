"""Metrics of image fusion: pure functions of the luma of source A, source B and the fused image F."""

from upfusion.metrics.catalogue import DEFAULT_METRICS, METRICS, METRICS_VERSION, Metric
from upfusion.metrics.measuring import explain_undefined, measure

__all__ = ["DEFAULT_METRICS", "METRICS", "METRICS_VERSION", "Metric", "explain_undefined", "measure"]
