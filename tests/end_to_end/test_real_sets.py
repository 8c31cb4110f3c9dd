"""Real registered pairs, fused by the checkpoint that ships: nothing fails, nothing is lost, it beats averaging."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines import storage
from pipelines.fuse import fuse, plan_fuse
from pipelines.fuse_config import FuseConfig
from tests.archives import real_set
from tests.end_to_end.test_fuse_archive import rows_of
from tests.object_store import ObjectStore
from upfusion.color import Pixels, luma8
from upfusion.images import decode_image
from upfusion.metrics import measure

pytestmark = [pytest.mark.usefixtures("ray_here"), pytest.mark.slow]

# Sub-folder, task and number of pairs of every set; LLVIP's test split by pattern, as its folders hold both splits.
LLVIP = {"a": "visible/test/*.jpg", "b": "infrared/test/*.jpg"}
SETS: dict[str, tuple[dict[str, str], int]] = {
    "llvip": (LLVIP, 8),
    "msrs/test": ({}, 21),
    "roadscene/test": ({}, 33),
    "harvard/ct_mri/test": ({"task": "ct_mri"}, 16),
    "harvard/pet_mri/test": ({"task": "pet_mri"}, 16),
    "harvard/pet_mri_cddfuse/test": ({"task": "pet_mri"}, 6),
    "harvard/spect_mri/test": ({"task": "spect_mri"}, 16),
}


def fuse_rows(source: object, out: object, **settings: Any) -> list[dict[str, Any]]:
    config = FuseConfig(source=str(source), out=str(out), no_tracking=True, **settings)
    fuse(plan_fuse(config))
    return rows_of(out)


@pytest.fixture(scope="module")
def fused_sets(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def of(name: str) -> list[dict[str, Any]]:
        return fuse_rows(real_set(name), tmp_path_factory.mktemp("fused"), **SETS[name][0])

    return of


def chroma(image: Pixels) -> np.ndarray:
    """Cb and Cr of BT.601, full range, on the scale of 255."""
    rgb = np.repeat(image[..., None], 3, axis=-1).astype(float) if image.ndim == 2 else image.astype(float)
    luma = rgb @ [0.299, 0.587, 0.114]
    return np.stack([(rgb[..., 2] - luma) / 1.772, (rgb[..., 0] - luma) / 1.402], axis=-1)


@pytest.mark.parametrize("name", SETS)
def test_every_pair_is_fused_with_its_size_and_the_colour_of_a(fused_sets: Any, name: str) -> None:
    rows = fused_sets(name)
    assert [row["status"] for row in rows] == ["ok"] * SETS[name][1]
    for row in rows:
        source = decode_image(Path(row["a_uri"]).read_bytes()).pixels
        fused = decode_image(row["fused"]["bytes"]).pixels
        assert fused.shape == source.shape
        assert np.abs(chroma(source) - chroma(fused)).mean() < 1.5, row["pair_id"]


@pytest.mark.parametrize("name", ["llvip", "msrs/test"])
def test_tiny_beats_the_mean_of_both_sources(fused_sets: Any, name: str) -> None:
    rows = fused_sets(name)
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
