"""Real registered pairs, fused by the checkpoint that ships: nothing fails, nothing is lost, it beats averaging."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import discover
from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import plan_fuse
from pipelines.storage import objects as storage
from tests.archives import real_set
from tests.end_to_end.test_fuse_archive import rows_of
from tests.object_store import ObjectStore
from upfusion.color import Pixels, color_rule, luma8
from upfusion.images import decode_image
from upfusion.metrics import measure

pytestmark = pytest.mark.slow

# Every set that is fused, with its task and how many of its pairs, evenly chosen.
SETS = {
    "llvip": ("ir_visible", 2),
    "msrs": ("ir_visible", 5),
    "roadscene": ("ir_visible", 8),
    "harvard/ct_mri": ("ct_mri", 6),
    "harvard/pet_mri": ("pet_mri", 6),
    "harvard/pet_mri_cddfuse": ("pet_mri", 6),
    "harvard/spect_mri": ("spect_mri", 6),
}
IN_THE_STORE = "llvip"


@pytest.fixture(scope="module")
def bucket(object_store: ObjectStore) -> str:
    return object_store.new_bucket()


@pytest.fixture(scope="module")
def fused_sets(tmp_path_factory: pytest.TempPathFactory, bucket: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of every set, fused into an object store as one archive whose manifest names the tasks."""
    manifest = tmp_path_factory.mktemp("real") / "manifest.parquet"
    pairs = []
    for name, (task, count) in SETS.items():
        source = str(real_set(name))
        if name == IN_THE_STORE:
            source = copy_to_store(Path(source), f"{bucket}/{name}")
        found = discover(ArchiveConfig(source=source, task=task)).pairs.to_pylist()
        tests = [pair for pair in found if "test" in pair["pair_id"]]
        chosen = [tests[round(position)] for position in np.linspace(0, len(tests) - 1, count)]
        pairs += [pair | {"pair_id": f"{name}/{pair['pair_id']}"} for pair in chosen]
    pq.write_table(pa.Table.from_pylist(pairs, MANIFEST_SCHEMA), manifest)
    config = FuseConfig(
        source=str(manifest), out=f"{bucket}/fused", metrics="vif,qabf", no_tracking=True, runner="inline"
    )
    fuse(plan_fuse(config))
    rows = rows_of(config.out)
    return {name: [row for row in rows if row["pair_id"].startswith(f"{name}/")] for name in SETS}


def copy_to_store(folder: Path, prefix: str) -> str:
    for path in sorted(folder.glob("*/test/*.jpg")):
        storage.write_bytes(f"{prefix}/{path.relative_to(folder)}", path.read_bytes())
    return prefix


def chroma(image: Pixels) -> np.ndarray:
    """Cb and Cr of BT.601, full range, on the scale of 255."""
    rgb = np.repeat(image[..., None], 3, axis=-1).astype(float) if image.ndim == 2 else image.astype(float)
    luma = rgb @ [0.299, 0.587, 0.114]
    return np.stack([(rgb[..., 2] - luma) / 1.772, (rgb[..., 0] - luma) / 1.402], axis=-1)


@pytest.mark.parametrize("name", SETS)
def test_every_pair_is_fused_with_its_size_and_the_colour_of_a(fused_sets: Any, name: str) -> None:
    rows = fused_sets[name]
    assert [row["status"] for row in rows] == ["ok"] * SETS[name][1]
    for row in rows:
        source = decode_image(storage.read_bytes(row["a_uri"])).pixels
        fused = decode_image(row["fused"]["bytes"]).pixels
        assert fused.shape == source.shape
        before, after = chroma(source), chroma(fused)
        if color_rule(row["task"]) == "keep-luma":  # which keeps the hue, and may make a colour paler
            paler = np.linalg.norm(after, axis=-1) / np.linalg.norm(before, axis=-1).clip(4)
            assert paler.max() < 1.2
            before *= paler[..., None]
        assert np.abs(before - after).mean() < 1.5, row["pair_id"]


@pytest.mark.parametrize("name", ["llvip", "msrs"])
def test_tiny_beats_the_mean_of_both_sources(fused_sets: Any, name: str) -> None:
    rows = fused_sets[name]
    averaged: dict[str, list[float]] = {"vif": [], "qabf": []}
    for row in rows:
        a, b = (
            torch.from_numpy(luma8(decode_image(storage.read_bytes(row[side])).pixels))[None, None]
            for side in ("a_uri", "b_uri")
        )
        values = measure(a, b, torch.floor((a + b) / 2 + 0.5), averaged)
        for metric in averaged:
            averaged[metric] += [value for value in values[metric] if value is not None]
    for metric, of_the_mean in averaged.items():
        assert len(of_the_mean) == len(rows)
        assert np.mean([row[metric] for row in rows]) > np.mean(of_the_mean)


def test_llvip_comes_from_an_object_store(fused_sets: Any, bucket: str) -> None:
    for row in fused_sets[IN_THE_STORE]:
        assert row["a_uri"].startswith(f"{bucket}/llvip/visible/test/")
        assert (row["width"], row["height"]) == (1280, 1024)
