"""The fused images of an evaluation: networks run as fuse jobs, folders of images are looked up."""

from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.archive.schema import Discovery
from pipelines.checkpoints.fusion_method import CheckpointMethod, OnnxMethod
from pipelines.cluster.runner import Progress
from pipelines.errors.failures import Row, fail
from pipelines.evaluate.folder import EvaluationFolder
from pipelines.evaluate.methods import Method
from pipelines.evaluate.plan import EvaluationPlan, join_manifests
from pipelines.evaluate.rows import FAILED, MISSING
from pipelines.evaluate.sets import EvaluationSet
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import Plan, plan_fuse
from pipelines.storage import objects as storage
from pipelines.storage.ownership import digest_of

SHARED_WITH_FUSE = (
    "actors",
    "gpus_per_actor",
    "precision",
    "text_encoder",
    "allow",
    "max_pixels",
    "max_file_mb",
)
"""Options of an evaluation that its fuse jobs get."""

Listener = Callable[[str, Progress], None]
"""Called with the current stage and its progress."""


@dataclass
class Fusions:
    """The fused images of all methods by (method, set, pair_id), and the pairs without one."""

    files: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    """Rows with `uri`, `version` and `fuse_ms`."""
    without: list[Row] = field(default_factory=list)
    """Final rows of pairs without an image: a network failed, or the folder has none."""


def find_fusions(plan: EvaluationPlan, folder: EvaluationFolder, on_progress: Listener, *, verbose: bool) -> Fusions:
    """Run every network, and look up the images in folders."""
    fusions = Fusions()
    for method in plan.methods:
        if method.kind == "model":
            _fuse_with(method, plan, folder, fusions, on_progress, verbose=verbose)
        elif method.kind == "images":
            _look_up(method, plan, fusions)
    return fusions


def _fuse_with(
    method: Method,
    plan: EvaluationPlan,
    folder: EvaluationFolder,
    fusions: Fusions,
    on_progress: Listener,
    *,
    verbose: bool,
) -> None:
    """Run the fuse job for one network, and collect its rows."""
    fuse_plan = _plan_fuse_with(method, plan, folder)
    outcome = fuse(fuse_plan, lambda progress: on_progress(f"fusing with {method.name}", progress), verbose=verbose)
    columns = ["pair_id", "status", "error_code", "error", "fused_uri", "fuse_ms"]
    rows = {row["pair_id"]: row for row in outcome.destination.read_columns(columns).to_pylist()}
    for one, pair in plan.pairs:
        row = rows[f"{one.name}/{pair['pair_id']}"]
        if row["status"] == FAILED:
            fusions.without.append(_final(one, pair, method, FAILED, row["error_code"], row["error"]))
        else:
            image = {"uri": row["fused_uri"], "version": method.identity, "fuse_ms": row["fuse_ms"]}
            fusions.files[method.name, one.name, pair["pair_id"]] = image


def _plan_fuse_with(method: Method, plan: EvaluationPlan, folder: EvaluationFolder) -> Plan:
    """Plan the fuse job of all sets with one network, into a folder named after its weights."""
    assert isinstance(method.network, CheckpointMethod | OnnxMethod)
    sources, changed = plan.sources, plan.sources.changed
    settings = {name: getattr(plan.config, name) for name in SHARED_WITH_FUSE}
    if isinstance(method.network, OnnxMethod):
        settings |= {"precision": "fp32", "text_encoder": None}  # its file says how it computes
    settings["runtime"] = method.network.runtime if plan.config.runtime != "torch" else "torch"
    decisive = {"model": method.network.digest, "precision": settings["precision"]}
    decisive |= {"runtime": settings["runtime"]} if settings["runtime"] != "torch" else {}
    out = storage.join(folder.fused, digest_of(decisive | ({"sources": changed} if changed else {}))[:16])
    file = f"{out}{method.network.suffix}"
    if not storage.exists(file):
        storage.write_bytes(file, method.network.data)
    settings |= sources.config.model_dump() | {"rig": None}
    if sources.rigs is not None:
        settings["rig"] = f"{out}.rig.json"
        rigs = sources.rigs.below([one.name for one in plan.sets])
        storage.write_bytes(settings["rig"], rigs.to_json().encode())
    fuse_config = FuseConfig(
        source=folder.manifest,
        out=out,
        model=f"{method.network.scheme}{file}",
        metrics=(),
        images="files",
        retry_failed=plan.config.retry_failed,
        no_tracking=True,
        **settings,
    )
    # Not read back from the manifest, whose allowlist would differ from that of the sets.
    return plan_fuse(fuse_config, Discovery(join_manifests(plan.sets))).with_ranges(sources.ranges)


def _look_up(method: Method, plan: EvaluationPlan, fusions: Fusions) -> None:
    for one, pair in plan.pairs:
        image = plan.matched[method.name, one.name].images.get(pair["pair_id"])
        if image is None:
            sentence = f"{method.name} has no image of {pair['pair_id']}"
            fusions.without.append(_final(one, pair, method, MISSING, "fused_missing", sentence))
        else:
            found = {"uri": image.uri, "version": image.version, "fuse_ms": None}
            fusions.files[method.name, one.name, pair["pair_id"]] = found


def _final(one: EvaluationSet, pair: Row, method: Method, status: str, code: str, sentence: str) -> Row:
    row: Row = {"key": "", "set": one.name, "pair_id": pair["pair_id"], "task": pair["task"], "method": method.name}
    fail(row, code, sentence)
    return row | {"status": status}
