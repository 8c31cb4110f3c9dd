"""Metrics of image fusion: pure functions of the luma of source A, source B and the fused image F."""

from upfusion.metrics.catalogue import DEFAULT_METRICS, METRICS, METRICS_VERSION, Metric
from upfusion.metrics.measuring import measure, why_none

__all__ = ["DEFAULT_METRICS", "METRICS", "METRICS_VERSION", "Metric", "measure", "why_none"]
