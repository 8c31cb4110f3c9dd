"""Metrics of image fusion: pure functions of the luma of source A, source B and the fused image F."""

from upfusion.metrics.catalogue import METRICS, METRICS_VERSION, Metric, measure

__all__ = ["METRICS", "METRICS_VERSION", "Metric", "measure"]
