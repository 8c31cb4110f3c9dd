"""The plan of an evaluation: all sets and methods, checked before anything is started."""

from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import pyarrow as pa

from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.checkpoints.runtime_choice import in_runtime
from pipelines.cluster.git import git_commit
from pipelines.cluster.shared_paths import check_shared_paths
from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import Row
from pipelines.errors.redaction import redact_values
from pipelines.evaluate.config import EvaluateConfig
from pipelines.evaluate.detection.detection import Detection, plan_detection
from pipelines.evaluate.methods import Matched, Method, find_methods, match_images
from pipelines.evaluate.sets import EvaluationSet, find_sets
from pipelines.evaluate.source_settings import settle_sources
from pipelines.sources.ranges import with_ranges
from pipelines.sources.settings import SourceSettings
from pipelines.storage import objects as storage
from pipelines.storage.ownership import digest_of
from pipelines.tracking.run import check_tracking
from upfusion.baselines import COPIES
from upfusion.metrics import METRICS_VERSION
from upfusion.version import __version__


@dataclass(frozen=True)
class EvaluationPlan:
    """Checked arguments; creating a plan writes and starts nothing."""

    config: EvaluateConfig
    sets: list[EvaluationSet]
    methods: list[Method]
    matched: dict[tuple[str, str], Matched]
    """The matched images of folders, by method and set."""
    run: dict[str, Any]
    sources: SourceSettings
    """How the files of every pair become A and B; `sources.of(set)` are those of one set."""
    detection: Detection | None = None

    @property
    def reference(self) -> str:
        """The method that the others are compared with."""
        return self.config.reference or self.methods[0].name

    @property
    def pairs(self) -> list[tuple[EvaluationSet, Row]]:
        """Every pair with its set."""
        return [(one, pair) for one in self.sets for pair in one.pairs.to_pylist()]


def plan_evaluation(config: EvaluateConfig) -> EvaluationPlan:
    """Find and check every set and method; raises UsageError."""
    check_shared_paths(config)
    check_tracking(config.tracking_uri, no_tracking=config.no_tracking)
    sets = find_sets(config.sets, config.limit, config.allow)
    methods = [
        replace(one, network=in_runtime(one.network, config.runtime, config.precision)) if one.network else one
        for one in find_methods(config.methods, config.tracking_uri)
    ]
    if config.detect:
        # Detection gain is relative to the sources.
        methods += [Method(name, "baseline", name) for name in sorted(COPIES) if name not in _names(methods)]
    names = _names(methods)
    for option, named in (("--reference", [config.reference or names[0]]), ("--costs", list(config.milliseconds))):
        if unknown := [name for name in named if name not in names]:
            raise UsageError(f"{option}: no method is called {unknown[0]!r}; there are: {', '.join(names)}")
    folders = [method for method in methods if method.kind == "images"]
    alone = len(sets) == 1
    matched = {(m.name, s.name): match_images(m, s, alone=alone) for m in folders for s in sets}
    for method in folders:
        if not any(matched[method.name, one.name].images for one in sets):
            raise UsageError(_nothing_matches(method, sets))
    try:
        sources = settle_sources(config, methods, join_manifests(sets), [one.name for one in sets])
    except OSError as error:
        raise UsageError(f"--out cannot be used: {storage.redact(str(error))}") from error
    detection = plan_detection(config, sets)
    run = with_ranges(_describe(config, sets, methods, sources, detection), sources.ranges)
    return EvaluationPlan(config, sets, methods, matched, run, sources, detection)


def _names(methods: list[Method]) -> list[str]:
    return [method.name for method in methods]


def _describe(
    config: EvaluateConfig,
    sets: list[EvaluationSet],
    methods: list[Method],
    sources: SourceSettings,
    detection: Detection | None,
) -> dict[str, Any]:
    """Describe the comparison, for run.json and tracking."""
    result = {
        "kind": "evaluation",
        "sets": {one.name: one.place for one in sets},
        "methods": {method.name: method.identity for method in methods},
        "metrics": list(config.metrics),
        "metrics_version": METRICS_VERSION,
        "precision": config.precision,
        "detector": detection and detection.identity,
        **({"sources": sources.changed} if sources.changed else {}),
    }
    run: dict[str, Any] = {
        "digest": digest_of(result),
        "result": result,
        "config": config.model_dump(),
        "versions": {name: version(name) for name in ("torch", "ray", "pyarrow", "scipy", "matplotlib")}
        | {"upfusion": __version__},
        "git_commit": git_commit(),
    }
    return redact_values(run)


def _nothing_matches(method: Method, sets: list[EvaluationSet]) -> str:
    where = storage.join(method.what, sets[0].name) if len(sets) > 1 else method.what
    return (
        f"no image of {method.name} belongs to a pair: looked for {where}/NAME with the names of the pairs "
        f"({sets[0].ids[0]}, ...) and any image suffix. With several sets each has a sub-folder of its name."
    )


def join_manifests(sets: list[EvaluationSet]) -> pa.Table:
    """Join the pairs of all sets to one manifest, with ids prefixed by the names of their sets.

    Raises UsageError if one id would stand for pairs of two sets.
    """
    tables = [
        one.pairs.set_column(0, MANIFEST_SCHEMA.field(0), pa.array([f"{one.name}/{pair_id}" for pair_id in one.ids]))
        for one in sets
    ]
    manifest = pa.concat_tables(tables).sort_by("pair_id")
    ids = manifest["pair_id"].to_pylist()
    if repeated := next((one for one, after in pairwise(ids) if one == after), None):
        raise UsageError(f"{repeated!r} stands for pairs of two sets; rename one of the sets")
    return manifest
