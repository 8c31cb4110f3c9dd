"""The option that selects metrics by name."""

from typing import Annotated

from pydantic import BeforeValidator

from upfusion.metric_names import COSTLY_METRICS, METRIC_NAMES


def choose_metrics(given: object) -> tuple[str, ...]:
    """Convert comma-separated names, or a list of names, to names in catalogue order.

    `default` is all except the slow ones; `all` and `none` are accepted.
    Raises ValueError for an unknown name.
    """
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected comma-separated names such as vif,ssim, got {given!r}")
    default = tuple(name for name in METRIC_NAMES if name not in COSTLY_METRICS)
    sets: dict[str, tuple[str, ...]] = {"none": (), "default": default, "all": METRIC_NAMES}
    if len(names) == 1 and names[0] in sets:
        return sets[names[0]]
    for name in names:
        if name not in METRIC_NAMES:
            raise ValueError(f"unknown metric {name!r}; known metrics: {', '.join(METRIC_NAMES)}")
    return tuple(metric for metric in METRIC_NAMES if metric in names)


MetricNames = Annotated[tuple[str, ...], BeforeValidator(choose_metrics)]
