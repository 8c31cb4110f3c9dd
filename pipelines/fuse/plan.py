"""What a fuse job is about to do: a request that was checked against the archive, the model and the tracking."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from pipelines.archive.discover import discover
from pipelines.archive.schema import Discovery
from pipelines.checkpoints.read import local_copy, read_model
from pipelines.cluster.git import git_commit
from pipelines.cluster.shared_paths import check_shared
from pipelines.errors.exceptions import RequestError
from pipelines.errors.redaction import blanked
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.guide import Guide
from pipelines.storage import objects as storage
from pipelines.storage.ownership import digest_of
from pipelines.storage.retry import PATIENCE_PLANNING, waiting_at_most
from pipelines.tracking.run import check_tracking
from upfusion.checkpoint import Checkpoint
from upfusion.guidance import Guidance, check_balance
from upfusion.metrics import METRICS_VERSION
from upfusion.priors import PriorUnavailableError
from upfusion.version import __version__

MADE_WITH = ("torch", "ray", "pyarrow", "pillow", "opencv-python-headless", "numpy", "av")
"""Packages whose version can show in a result."""

Texts = dict[tuple[str, str | None], list[float]]
"""Embeddings by task and prompt of the row."""


@dataclass(frozen=True)
class Plan:
    """A request that was found to be possible; making one writes and starts nothing."""

    config: FuseConfig
    checkpoint: Checkpoint
    checkpoint_bytes: bytes
    found: Discovery
    texts: Texts
    """What guides the pairs of SOURCE."""
    run: dict[str, Any]
    """What DEST is claimed with (`run.json`)."""

    @property
    def run_of_all_shards(self) -> dict[str, Any]:
        """What claims DEST for shards, so that it takes neither another number of them nor the whole archive."""
        result = self.run["result"] | {"shards": self.config.part.count}
        config = self.run["config"] | {"shard": None}
        return self.run | {"digest": digest_of(result), "result": result, "config": config}

    def texts_of(self, pairs: pa.Table) -> Texts:
        """Return what guides pairs, some of which SOURCE may not have; raises RequestError."""
        return _embed_prompts(self.config, self.checkpoint, pairs, self.texts)


@waiting_at_most(PATIENCE_PLANNING)
def plan_fuse(config: FuseConfig, found: Discovery | None = None) -> Plan:
    """Check a request against the archive, the model and the tracking, and raise RequestError if it cannot work.

    `found` are the pairs of SOURCE where they are known and checked already.
    """
    check_shared(config)
    check_tracking(config.tracking_uri, no_tracking=config.no_tracking)
    checkpoint, data = read_model(config.model, config.tracking_uri)
    if not checkpoint.provenance.trained:
        raise RequestError(f"model {config.model!r} is untrained and would give noise")
    try:
        found = found or discover(config, recordings=True)
    except OSError as error:
        raise RequestError(f"SOURCE cannot be read: {storage.without_secrets(str(error))}") from error
    texts = _embed_prompts(config, checkpoint, found.pairs, {})
    _check_balances(config, checkpoint, found.pairs)
    result = {
        "model": checkpoint.digest,
        "prompt": config.prompt,
        "metrics": list(config.metrics),
        "metrics_version": METRICS_VERSION,
        "images": config.images,
        "format": config.format,
        "precision": config.precision,
        "tile": config.tile,
        "tile_overlap": config.tile_overlap if config.tile else None,
        "frame_rate": config.frame_rate,
        **config.footage_result,
        **_guided(config.guide, found.pairs),
    }
    run: dict[str, Any] = {
        "digest": digest_of(result),
        "result": result,
        "config": config.model_dump(),
        "model": {"name": checkpoint.name, "digest": checkpoint.digest} | asdict(checkpoint.provenance),
        "versions": {name: version(name) for name in MADE_WITH} | {"upfusion": __version__},
        "git_commit": git_commit(),
    }
    return Plan(config, checkpoint, data, found, texts, blanked(run))


def _guided(guide: Guide, pairs: pa.Table) -> dict[str, Any]:
    """Return what of a guide changes results, without what folders that were made before there was one imply."""
    before = Guide(color="keep-chroma")
    tasks = pairs["task"].unique().to_pylist()
    colors = {task: color for task in tasks if (color := guide.color_of({"task": task})) != before.color}
    return ({"balance": guide.balance} if guide.balance else {}) | ({"color": colors} if colors else {})


def _check_balances(config: FuseConfig, checkpoint: Checkpoint, pairs: pa.Table) -> None:
    try:
        for balance in {config.balance, *pairs["balance"].drop_null().unique().to_pylist()}:
            check_balance(balance, checkpoint)
    except ValueError as error:
        raise RequestError(str(error)) from error


def _embed_prompts(config: FuseConfig, checkpoint: Checkpoint, pairs: pa.Table, known: Texts) -> Texts:
    """Embed what guides each pair and is not known yet, here on the driver, by (task, prompt of the row)."""
    guided = pairs.group_by(["task", "prompt"]).aggregate([]).to_pylist()
    missing = {(row["task"], row["prompt"]) for row in guided} - set(known)
    if not missing:
        return known
    with local_copy(config.text_encoder, "--text-encoder") as text_encoder:
        guidance = Guidance(checkpoint, text_encoder)
        try:
            return known | {key: guidance.embed(key[0], key[1] or config.prompt).tolist() for key in missing}
        except (PriorUnavailableError, ValueError) as error:
            raise RequestError(str(error)) from error
