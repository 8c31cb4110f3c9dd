"""Two image files in, one out, in this process: the stages of a job without its manifest, rows and report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch

from pipelines.archive.load import load_sources
from pipelines.archive.rows import unpack_image
from pipelines.cluster.environment import usable_cpus
from pipelines.errors.exceptions import UsageError
from pipelines.errors.failures import Row
from pipelines.fuse.actor import FuseActor
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.plan import Plan, plan_fuse
from pipelines.fuse.writer import encode_fused
from pipelines.storage import objects as storage


@dataclass(frozen=True)
class FusedPair:
    """The outcome of one pair."""

    uri: str
    """Where the fused image is."""
    row: Row
    """As in `pairs/*.parquet`, without the image: error_code and error where it failed, note, metrics, milliseconds."""
    metrics: tuple[str, ...] = ()
    """Which metrics the row has."""


def fuse_image_pair(config: FuseConfig, on_activity: Callable[[str], None] = lambda _: None) -> FusedPair:
    """Fuse the files SOURCE and SOURCE_B into the file --out, whose extension is its format.

    Raises UsageError for invalid arguments, and OSError where the image cannot be written. A source that cannot be
    read or fused is in the row.
    """
    plan = plan_fuse(config, on_activity=on_activity)
    uri = storage.absolute(config.out)
    if uri in (pair := plan.found.pairs.to_pylist()[0]).values():
        raise UsageError(f"--out {config.out} is one of the sources; choose another file")
    names = [PurePosixPath(pair[side]).name for side in ("a_uri", "b_uri")]
    on_activity(f"fusing {' and '.join(names)}")
    row = _fuse(plan)
    image, row["fused"] = row["fused"], None
    if row["error_code"] is None:
        row |= {"width": image["width"], "height": image["height"]}
        storage.write_bytes(uri, encode_fused(row, unpack_image(image), config.format))
    return FusedPair(uri, row, config.metrics)


def _fuse(plan: Plan) -> Row:
    config, pairs = plan.config, plan.found.pairs
    on_gpu = torch.cuda.is_available() and plan.gpus_per_actor != 0
    limits = config.max_bytes, config.max_pixels
    (loaded,) = load_sources(pairs, *limits, plan.pair_options, plan.register)
    row: Row = loaded.to_pylist()[0]
    if row["error_code"] is not None:
        return row | {"fused": None}
    run = FuseActor(
        method=plan.method,
        texts=plan.texts_of(pairs),
        metrics=config.metrics,
        threads=1 if on_gpu else usable_cpus(),
        on_gpu=on_gpu,
        precision=config.precision,
        guide=config.guide,
        tiles=config.tiles,
        warm_up=False,
    )
    fused: Row = run(loaded).to_pylist()[0]
    return fused
