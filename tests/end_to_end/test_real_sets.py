"""Real registered pairs, fused by the checkpoint that ships: nothing fails, nothing is lost, it beats averaging."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipelines import storage
from pipelines.discover import MANIFEST_SCHEMA, discover
from pipelines.fuse import fuse, plan_fuse
from pipelines.fuse_config import ArchiveConfig, FuseConfig
from tests.archives import real_set
from tests.end_to_end.test_fuse_archive import rows_of
from tests.object_store import ObjectStore
from upfusion.color import Pixels, luma8
from upfusion.images import decode_image
from upfusion.metrics import measure

pytestmark = [pytest.mark.usefixtures("ray_here"), pytest.mark.slow]

# Every set that is fused, with its task and the number of its pairs.
SETS = {
    "llvip": ("ir_visible", 8),
    "msrs": ("ir_visible", 21),
    "roadscene": ("ir_visible", 33),
    "harvard/ct_mri": ("ct_mri", 16),
    "harvard/pet_mri": ("pet_mri", 16),
    "harvard/pet_mri_cddfuse": ("pet_mri", 6),
    "harvard/spect_mri": ("spect_mri", 16),
}


def fuse_rows(source: object, out: object, **settings: Any) -> list[dict[str, Any]]:
    config = FuseConfig(source=str(source), out=str(out), no_tracking=True, **settings)
    fuse(plan_fuse(config))
    return rows_of(out)


@pytest.fixture(scope="module")
def fused_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The rows of every set, fused as one archive whose manifest names the tasks."""
    folder = tmp_path_factory.mktemp("real")
    pairs = []
    for name, (task, _) in SETS.items():
        found = discover(ArchiveConfig(source=str(real_set(name)), task=task)).pairs.to_pylist()
        pairs += [pair | {"pair_id": f"{name}/{pair['pair_id']}"} for pair in found if "test" in pair["pair_id"]]
    pq.write_table(pa.Table.from_pylist(pairs, MANIFEST_SCHEMA), folder / "manifest.parquet")
    rows = fuse_rows(folder / "manifest.parquet", folder / "out", metrics="vif,qabf")
    return {name: [row for row in rows if row["pair_id"].startswith(f"{name}/")] for name in SETS}


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
        source = decode_image(Path(row["a_uri"]).read_bytes()).pixels
        fused = decode_image(row["fused"]["bytes"]).pixels
        assert fused.shape == source.shape
        assert np.abs(chroma(source) - chroma(fused)).mean() < 1.5, row["pair_id"]


@pytest.mark.parametrize("name", ["llvip", "msrs"])
def test_tiny_beats_the_mean_of_both_sources(fused_sets: Any, name: str) -> None:
    rows = fused_sets[name]
    averaged: dict[str, list[float]] = {"vif": [], "qabf": []}
    for row in rows:
        a, b = (
            torch.from_numpy(luma8(decode_image(Path(row[side]).read_bytes()).pixels))[None, None]
            for side in ("a_uri", "b_uri")
        )
        values = measure(a, b, torch.floor((a + b) / 2 + 0.5), averaged)
        for metric in averaged:
            averaged[metric] += [value for value in values[metric] if value is not None]
    for metric, of_the_mean in averaged.items():
        assert len(of_the_mean) == len(rows)
        assert np.mean([row[metric] for row in rows]) > np.mean(of_the_mean)


def test_llvip_from_and_to_an_object_store(object_store: ObjectStore) -> None:
    folder = real_set("llvip")
    bucket = object_store.new_bucket()
    for path in sorted(folder.glob("*/test/*.jpg")):
        storage.write_bytes(f"{bucket}/llvip/{path.relative_to(folder)}", path.read_bytes())
    rows = fuse_rows(f"{bucket}/llvip", f"{bucket}/fused", metrics="none")
    assert [row["status"] for row in rows] == ["ok"] * 8
    assert {(row["width"], row["height"]) for row in rows} == {(1280, 1024)}
    assert rows[0]["pair_id"].startswith("test/")
