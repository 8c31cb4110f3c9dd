"""Names of the metrics, for options that are checked without importing PyTorch, which the metrics themselves do."""

METRIC_NAMES: tuple[str, ...] = (
    *("vif", "vif_a", "vif_b", "vif_balanced", "ssim", "ssim_a", "ssim_b", "ssim_balanced", "ms_ssim", "qabf", "nabf"),
    *("qcb", "qy", "mi", "scd", "cc", "en", "sd", "sf", "ag", "psnr", "qp"),
)
"""In the order of the catalogue (`upfusion.metrics.METRICS`)."""
COSTLY_METRICS = frozenset({"qp"})
"""Measured on request only."""
