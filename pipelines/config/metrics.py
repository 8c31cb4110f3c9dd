"""The option that selects metrics by name."""

from typing import Annotated

from pydantic import BeforeValidator


def choose_metrics(given: object) -> tuple[str, ...]:
    """Convert comma-separated names, or a list of names, to names in catalogue order.

    `default` is all except the slow ones; `all` and `none` are accepted.
    Raises ValueError for an unknown name.
    """
    # Imported here because it imports PyTorch, which neither --help nor a worker that writes images needs.
    from upfusion.metrics import DEFAULT_METRICS, METRICS

    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected comma-separated names such as vif,ssim, got {given!r}")
    sets: dict[str, tuple[str, ...]] = {"none": (), "default": DEFAULT_METRICS, "all": tuple(METRICS)}
    if len(names) == 1 and names[0] in sets:
        return sets[names[0]]
    for name in names:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; known metrics: {', '.join(METRICS)}")
    return tuple(metric for metric in METRICS if metric in names)


MetricNames = Annotated[tuple[str, ...], BeforeValidator(choose_metrics)]
