import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipelines.train.crops import CropRules
from pipelines.train.disk_cache import ChangedError, ImageCache
from pipelines.train.loader import CropLoader, LumaCache
from pipelines.train.prepared import PairReader
from tests.archives import make_archive
from upfusion.color import luma
from upfusion.images import read_image

RULES = CropRules(side=24, random_prompts=0.3, prompts=("general", "ct_mri"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    return [row_of(folder, name) for name in make_archive(folder, 5)]


def row_of(folder: Path, name: str) -> dict:
    row = {"pair_id": name, "weight": 1.0, "task": "ir_visible", "prompt": None}
    for side, sensor in (("a", "visible"), ("b", "infrared")):
        path = folder / sensor / f"{name}.png"
        row |= {f"{side}_uri": str(path), f"{side}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return row


def loader_of(pairs, batch=3, gigabytes=1.0, threads=2) -> CropLoader:
    return CropLoader(pairs, RULES, batch, LumaCache(PairReader(ImageCache(0)), gigabytes), threads)


def drawn(loader, first, last, workers):
    """The crops of all ranks, step by step, as what tells them apart."""
    ranks = [list(loader.steps(first, last, rank, workers)) for rank in range(workers)]
    return [
        [(s.pair["pair_id"], s.crop.a.tobytes(), s.crop.b.tobytes(), s.crop.prompt) for rank in ranks for s in rank[n]]
        for n in range(last - first)
    ]


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_draws_the_same_crops_in_the_same_order(pairs, workers):
    loader = loader_of(pairs)
    assert drawn(loader, 0, 9, workers) == drawn(loader, 0, 9, 1)


def test_going_on_at_a_step_draws_what_would_have_come(pairs):
    assert drawn(loader_of(pairs), 4, 9, 1) == drawn(loader_of(pairs), 0, 9, 1)[4:]


def test_an_epoch_has_every_pair_once_whatever_the_batch(pairs):
    steps = drawn(loader_of(pairs), 0, 5, 1)
    names = [name for step in steps for name, *_ in step]
    assert all(sorted(names[start : start + 5]) == [p["pair_id"] for p in pairs] for start in (0, 5, 10))


def test_lumas_are_those_of_the_files_with_and_without_a_cache(pairs):
    expected = luma(read_image(pairs[0]["a_uri"]))
    for gigabytes in (0.0, 1.0):
        cache = LumaCache(PairReader(ImageCache(0)), gigabytes)
        for _ in range(2):
            a, b = cache.read(pairs[0])
            assert np.abs(a - expected).max() < 0.0003
            assert a.shape == b.shape


def test_the_cache_keeps_what_was_used_last_within_its_size(pairs):
    two = 2 * 2 * 64 * 48 * 2 / 1e9
    cache = LumaCache(PairReader(ImageCache(0)), two)
    first = cache.read(pairs[0])
    cache.read(pairs[1])
    assert cache.read(pairs[0]) is first
    cache.read(pairs[2])
    assert cache.read(pairs[0]) is first
    cache.read(pairs[1])
    cache.read(pairs[2])
    assert cache.read(pairs[0]) is not first


def test_a_file_that_changes_in_the_middle_stops_with_its_name(tmp_path):
    make_archive(tmp_path, 2)
    rows = [row_of(tmp_path, name) for name in ("street_000", "street_001")]
    steps = loader_of(rows, batch=1, gigabytes=0).steps(0, 50, 0, 1)
    next(steps)
    Path(rows[1]["b_uri"]).write_bytes(b"something else")
    with pytest.raises(ChangedError, match=r"street_001\.png"):
        list(steps)
