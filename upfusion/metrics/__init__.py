"""Metrics of image fusion: pure functions of the luma of source A, source B and the fused image F.

Each is a function of this module: `metrics.ssim(a, b, f)`, `metrics.vif_balanced(a, b, f)`.
"""

from upfusion.metrics.catalogue import DEFAULT_METRICS, METRICS, METRICS_VERSION, Metric
from upfusion.metrics.measuring import explain_undefined, measure

__all__ = ["DEFAULT_METRICS", "METRICS", "METRICS_VERSION", "Metric", "explain_undefined", "measure"]

# A metric's function has the name of its module, and is what a user of the package means by it.
globals().update(METRICS)
