"""Choosing metrics by name, in an option of a job."""

from typing import Annotated

from pydantic import BeforeValidator


def choose_metrics(given: object) -> tuple[str, ...]:
    """Turn names with commas, or a list of them, into names in the catalogue's order.

    `default` means all but the costly ones, `all` and `none` what they say.
    Raises ValueError for a name that is no metric's.
    """
    # Imported here: with it comes PyTorch, which neither --help nor a worker that writes images needs.
    from upfusion.metrics import DEFAULT_METRICS, METRICS

    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected names with commas between, such as vif,ssim, got {given!r}")
    sets: dict[str, tuple[str, ...]] = {"none": (), "default": DEFAULT_METRICS, "all": tuple(METRICS)}
    if len(names) == 1 and names[0] in sets:
        return sets[names[0]]
    for name in names:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}; known metrics: {', '.join(METRICS)}")
    return tuple(metric for metric in METRICS if metric in names)


MetricNames = Annotated[tuple[str, ...], BeforeValidator(choose_metrics)]
