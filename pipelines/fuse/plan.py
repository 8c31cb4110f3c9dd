"""The plan of a fuse job: arguments checked against the archive, the model and the tracking server."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from pipelines.archive.discover import discover
from pipelines.archive.schema import Discovery
from pipelines.checkpoints.fusion_method import FusionMethod, read_method
from pipelines.checkpoints.runtime_choice import in_runtime
from pipelines.cluster.git import git_commit
from pipelines.cluster.shared_paths import check_shared_paths
from pipelines.errors.exceptions import UsageError
from pipelines.errors.redaction import redact_values
from pipelines.fuse.camera_rigs import RigEstimator, estimate_rigs
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.guide import Guide
from pipelines.fuse.ranges import settle_ranges
from pipelines.rigs.config import AUTO
from pipelines.rigs.estimate import PAIRS
from pipelines.rigs.load import read_rigs
from pipelines.rigs.register import Register
from pipelines.sources.ranges import Ranges, pair_options, with_ranges
from pipelines.storage import objects as storage
from pipelines.storage.ownership import digest_of
from pipelines.storage.retry import RETRY_SECONDS_PLANNING, retrying_at_most
from pipelines.tracking.run import check_tracking
from upfusion.cameras.pair_options import PairOptions
from upfusion.metrics import METRICS_VERSION
from upfusion.priors import PriorUnavailableError
from upfusion.registration.rig_set import RigSet
from upfusion.version import __version__

MADE_WITH = ("torch", "ray", "pyarrow", "pillow", "opencv-python-headless", "numpy", "av")
"""Packages whose version can affect a result."""

Texts = dict[tuple[str, str | None], list[float]]
"""Embeddings by task and prompt of the row."""


@dataclass(frozen=True)
class Plan:
    """Checked arguments; creating a plan writes nothing, and starts Ray only to estimate the rigs of many cameras."""

    config: FuseConfig
    method: FusionMethod
    found: Discovery
    texts: Texts
    """Text embeddings for the pairs of SOURCE."""
    rigs: RigSet | None
    """How B is warped; None where pairs are registered."""
    run: dict[str, Any]
    """The content of `run.json`."""

    @property
    def ranges(self) -> Ranges:
        """The values that become black and white."""
        ranges: Ranges = self.run["ranges"]
        return ranges

    def with_ranges(self, ranges: Ranges) -> "Plan":
        """Return the same plan with other ranges."""
        return replace(self, run=with_ranges(self.run, ranges))

    @property
    def gpus_per_actor(self) -> float | None:
        """GPUs of one copy, as `Runner.workers` takes them: none where the method cannot use any."""
        return self.config.gpus_per_actor if self.method.uses_gpu else 0

    @property
    def pair_options(self) -> PairOptions:
        """How the files of a pair become arrays."""
        options = pair_options(self.config, self.ranges, metadata=self.config.metadata == "keep")
        return options if self.rigs is None else replace(options, resize_b=False)

    @property
    def register(self) -> Register:
        """What the decode stage does with the sources of a pair."""
        config, text = self.config, None if self.rigs is None else self.rigs.to_json()
        return Register(text, config.canvas, config.refine, config.misaligned)

    @property
    def run_of_all_shards(self) -> dict[str, Any]:
        """`run.json` of DEST itself when sharded: another number of shards, or the whole archive, is refused."""
        result = self.run["result"] | {"shards": self.config.part.count}
        config = self.run["config"] | {"shard": None}
        return self.run | {"digest": digest_of(result), "result": result, "config": config}

    def texts_of(self, pairs: pa.Table) -> Texts:
        """Return the text embeddings of pairs, which need not be in SOURCE; raises UsageError."""
        return _embed_prompts(self.config, self.method, pairs, self.texts)


@retrying_at_most(RETRY_SECONDS_PLANNING)
def plan_fuse(
    config: FuseConfig, found: Discovery | None = None, on_activity: Callable[[str], None] = lambda _: None
) -> Plan:
    """Check a configuration against the archive, the model and the tracking server; raises UsageError.

    `found` are the pairs of SOURCE if they are already known and checked; `on_activity` gets what is done now.
    """
    check_shared_paths(config)
    on_activity(f"loading the model {config.model}")
    check_tracking(config.tracking_uri, no_tracking=config.no_tracking)
    method = read_method(config.model, config.tracking_uri)
    if config.runtime != "torch":
        on_activity(f"preparing {method.name} for another runtime, which takes up to a minute the first time")
    method = in_runtime(method, config.runtime, config.precision)
    _check_options(config, method)
    on_activity(f"looking for pairs in {config.source}")
    try:
        found = found or discover(config, recordings=True)
    except OSError as error:
        raise UsageError(f"SOURCE cannot be read: {storage.redact(str(error))}") from error
    texts = _embed_prompts(config, method, found.pairs, {})
    _check_balances(config, method, found.pairs)
    result = config.result_settings() | {
        "model": method.digest,
        "runtime": method.runtime,
        "metrics_version": METRICS_VERSION,
    }
    result |= _colors_of_tasks(config.guide, found.pairs) if method.has_color_rule else {}
    rigs = find_rigs(config, found.pairs, on_activity)
    result |= {} if rigs is None else {"rig": rigs.digest()}
    made_with = MADE_WITH if method.runtime == "torch" else (*MADE_WITH, method.runtime)
    run: dict[str, Any] = {
        "digest": digest_of(result),
        "result": result,
        "config": config.model_dump(),
        "model": method.about(),
        "versions": {name: version(name) for name in made_with} | {"upfusion": __version__},
        "git_commit": git_commit(),
    }
    try:
        ranges = settle_ranges(found.pairs, config)
    except OSError as error:
        raise UsageError(f"--out cannot be used: {storage.redact(str(error))}") from error
    return Plan(config, method, found, texts, rigs, with_ranges(redact_values(run), ranges))


def find_rigs(
    config: FuseConfig, pairs: pa.Table, on_activity: Callable[[str], None] = lambda _: None
) -> RigSet | None:
    """Read the rigs, or estimate them, a task per camera: once per destination, which keeps them. Raises UsageError."""
    if config.rig is None:
        return None
    if config.rig != AUTO:
        return read_rigs(config.rig, pairs)
    if config.shard:
        raise UsageError("--rig auto would estimate a rig per shard; run `upfusion align` once and give its file")
    kept = Destination(config.destination).rig
    try:
        if storage.exists(kept):
            return read_rigs(kept, pairs)
    except OSError as error:
        raise UsageError(f"--out cannot be used: {storage.redact(str(error))}") from error
    rigs, _ = estimate_rigs(pairs, RigEstimator(config, PAIRS), on_activity)
    return rigs


def _colors_of_tasks(guide: Guide, pairs: pa.Table) -> dict[str, Any]:
    """Return the colour rules other than keep-chroma, which every folder had before there was a choice."""
    rules = {task: guide.color_of({"task": task}) for task in sorted(pairs["task"].unique().to_pylist())}
    others = {task: rule for task, rule in rules.items() if rule != "keep-chroma"}
    return {"color_of_tasks": others} if others else {}


def _check_options(config: FuseConfig, method: FusionMethod) -> None:
    """Raise UsageError for options of our networks that have no meaning for another method."""
    given = {
        "--tile": config.tile is not None and not method.has_tiles,
        "--precision": config.precision != "fp32" and not method.has_bf16,
        "--color": config.color != "auto" and not method.has_color_rule,
        "--text-encoder": config.text_encoder is not None and not method.has_encoder,
    }
    if idle := [option for option, is_idle in given.items() if is_idle]:
        raise UsageError(f"{', '.join(idle)}: it has no meaning for --model {config.model}; leave it out")


def _check_balances(config: FuseConfig, method: FusionMethod, pairs: pa.Table) -> None:
    try:
        for balance in {config.balance, *pairs["balance"].drop_null().unique().to_pylist()}:
            method.check_balance(balance)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _embed_prompts(config: FuseConfig, method: FusionMethod, pairs: pa.Table, known: Texts) -> Texts:
    """Embed the missing prompts on the driver, by (task, prompt of the row)."""
    guided = pairs.group_by(["task", "prompt"]).aggregate([]).to_pylist()
    missing = {(row["task"], row["prompt"]) for row in guided} - set(known)
    if not missing:
        return known
    with method.embedder(config.text_encoder) as embedder:
        try:
            return known | {key: embedder.embed(key[0], key[1] or config.prompt).tolist() for key in missing}
        except (PriorUnavailableError, ValueError) as error:
            raise UsageError(str(error)) from error
