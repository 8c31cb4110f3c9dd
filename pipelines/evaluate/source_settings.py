"""How the pairs of an evaluation are prepared: as its options say, or as the fuse job did whose images are a method."""

import pyarrow as pa

from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.methods import Method
from pipelines.sources.config import SourceFields
from pipelines.sources.ranges import Limits, Ranges, sample_ranges
from pipelines.sources.settings import SourceSettings, find_rigs, settings_of_job
from pipelines.storage import objects as storage
from pipelines.storage.ownership import read_claim


def settle_sources(config: EvaluateConfig, methods: list[Method], pairs: pa.Table, sets: list[str]) -> SourceSettings:
    """Return how all pairs are prepared, whatever the method, with a range of values for each set.

    Ids of `pairs` begin with the names of their sets. Ranges stay those of an earlier run of this folder, and are those
    of a fuse job whose images are a method.

    Raises UsageError for a rig that cannot be read, and for images of a fuse job that prepared its pairs otherwise.
    """
    jobs = {method.name: job for method in methods if method.job and (job := settings_of_job(method.job))}
    first = next(iter(jobs.values()), None)
    given = SourceFields.model_validate({name: getattr(config, name) for name in SourceFields.model_fields})
    if first is not None and not config.given_settings:
        given, rigs = first.config, first.rigs
    else:
        rigs = find_rigs(given, pairs)
    known = _kept(config.out, given)
    if first is not None:
        known = {side: first.ranges.get(side, {}) | known[side] for side in "ab"}
    ranges = sample_ranges(pairs, given, known, Limits(config.max_bytes, config.max_pixels), sets)
    settled = SourceSettings(given, ranges, rigs)
    for name, job in jobs.items():
        if differing := settled.differences(job):
            raise UsageError(
                f"{name} was fused from pairs that were prepared otherwise ({'; '.join(differing)}). Give the same "
                f"options here, or evaluate it by itself, in another --out"
            )
    return settled


def _kept(out: str, given: SourceFields) -> Ranges:
    """Return the ranges that this folder had before, of sides whose option is the same; an earlier version had none."""
    there = read_claim(storage.absolute(out)) or {"result": {}}
    before = SourceFields.result_defaults() | there["result"].get("sources", {})
    ranges: Ranges = there.get("ranges", {})
    return {
        side: ranges.get(side, {}) if before[f"range_{side}"] == getattr(given, f"range_{side}") else {}
        for side in "ab"
    }
