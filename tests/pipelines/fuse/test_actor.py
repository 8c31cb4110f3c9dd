"""The network and the metrics on a block of pairs, without Ray."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipelines.archive.rows import DECODED, pack_image, unpack_image
from pipelines.checkpoints.fusion_method import CheckpointMethod
from pipelines.fuse import actor as fuse_actor
from pipelines.fuse.actor import PASSES_AT_ONCE_GPU, FuseActor
from pipelines.fuse.guide import Guide
from pipelines.fuse.schemas import fused_schema
from tests.pipelines.blocks import errors, noise, raising
from upfusion.checkpoint import EMBEDDED
from upfusion.metrics import METRICS
from upfusion.model import FusionModel, load
from upfusion.tiles import Tiles

TINY = CheckpointMethod.parse((EMBEDDED / "tiny.safetensors").read_bytes())


@pytest.fixture(scope="module")
def checkpoint_texts() -> dict[tuple[str, str | None], list[float]]:
    prompts = TINY.checkpoint.prompts
    return {
        ("ir_visible", None): prompts["ir_visible"].embedding.tolist(),
        ("ct_mri", None): prompts["ct_mri"].embedding.tolist(),
        ("ct_mri", "anything"): prompts["general"].embedding.tolist(),
    }


@pytest.fixture
def actor(checkpoint_texts) -> FuseActor:
    return FuseActor(TINY, checkpoint_texts, ("ssim", "en"), torch.get_num_threads(), on_gpu=False)


def decoded(*pairs: tuple[np.ndarray, np.ndarray], **columns: Any) -> pa.Table:
    rows = [
        {"pair_id": str(i), "a_uri": f"/vi/{i}.png", "b_uri": f"/ir/{i}.png", "task": "ir_visible", "fetch_ms": 1.0}
        | {"a": pack_image(a), "b": pack_image(b), "decode_ms": 2.0}
        | columns
        for i, (a, b) in enumerate(pairs)
    ]
    return pa.Table.from_pylist(rows, DECODED)


MIXED = [
    (noise(24, 32, 3, seed=1), noise(24, 32, seed=2)),
    (noise(33, 21, seed=3), noise(33, 21, 3, seed=4)),
    (noise(24, 32, 3, seed=5), noise(24, 32, seed=6)),
    (noise(16, 16, dtype=np.uint16, seed=7), noise(16, 16, seed=8)),
    (noise(24, 32, 3, seed=9), noise(24, 32, 3, seed=10)),
]


def test_a_block_of_mixed_sizes_is_fused_as_each_pair_alone(actor):
    table = actor(decoded(*MIXED))
    assert table.schema == fused_schema(("ssim", "en"))
    model = load("tiny", "cpu")
    for row, (a, b) in zip(table.to_pylist(), MIXED, strict=True):
        np.testing.assert_array_equal(unpack_image(row["fused"]), model.fuse(a, b))
        assert row["error_code"] is None
        assert 0 < row["en"] <= 8
        assert -1 <= row["ssim"] <= 1
        assert (row["fetch_ms"], row["decode_ms"]) == (1.0, 2.0)
        assert row["fuse_ms"] > 0
        assert row["measure_ms"] > 0


def test_the_balance_of_a_row_goes_before_that_of_the_job(checkpoint_texts):
    actor = FuseActor(TINY, checkpoint_texts, (), 1, on_gpu=False, guide=Guide(balance=0.5))
    a, b = MIXED[0]
    model = load("tiny", "cpu")
    for given, expected in ((None, 0.5), (0.0, 0.0), (-1.0, -1.0)):
        (row,) = actor(decoded((a, b), balance=given)).to_pylist()
        np.testing.assert_array_equal(unpack_image(row["fused"]), model.fuse(a, b, balance=expected))
        assert row["balance"] == given


def test_the_colour_rule_is_that_of_the_task_or_of_the_job(checkpoint_texts):
    texts = checkpoint_texts | {("pet_mri", None): checkpoint_texts["ct_mri", None]}
    a = noise(24, 32, 3, seed=1)
    a[..., 0], a[..., 2] = 255, 0  # saturated, without room for luma
    pair = (a, noise(24, 32, seed=2))
    images = {}
    for rule in ("auto", "keep-chroma", "keep-luma"):
        actor = FuseActor(TINY, texts, (), 1, on_gpu=False, guide=Guide(color=rule))
        for task in ("ct_mri", "pet_mri"):
            images[rule, task] = unpack_image(actor(decoded(pair, task=task)).to_pylist()[0]["fused"])
    assert (images["keep-luma", "ct_mri"] != images["keep-chroma", "ct_mri"]).any()
    np.testing.assert_array_equal(images["auto", "ct_mri"], images["keep-chroma", "ct_mri"])
    np.testing.assert_array_equal(images["auto", "pet_mri"], images["keep-luma", "pet_mri"])


def test_an_image_fused_in_tiles_says_so_in_its_row(checkpoint_texts):
    tiles = Tiles(side=28, overlap=8)
    tiled = FuseActor(TINY, checkpoint_texts, (), torch.get_num_threads(), on_gpu=False, tiles=tiles)
    rows = tiled(decoded(MIXED[1], MIXED[3], note="transparency of A was dropped")).to_pylist()
    assert re.search(r"transparency\b.*\bA\b.*\b28 pixels\b.*\b8$", rows[0]["note"])
    assert re.search(r"transparency\b.*\bA\b", rows[1]["note"])
    assert "tiles" not in rows[1]["note"]
    model = load("tiny", "cpu", tiles=tiles)
    np.testing.assert_array_equal(unpack_image(rows[0]["fused"]), model.fuse(*MIXED[1]))


def test_an_actor_computes_in_the_precision_it_is_told(checkpoint_texts):
    half = FuseActor(TINY, checkpoint_texts, (), torch.get_num_threads(), on_gpu=False, precision="bf16")
    row = half(decoded(MIXED[0])).to_pylist()[0]
    expected = load("tiny", "cpu", precision="bf16").fuse(*MIXED[0])
    np.testing.assert_array_equal(unpack_image(row["fused"]), expected)
    assert (expected != load("tiny", "cpu").fuse(*MIXED[0])).any()


class Memory:
    """A device that has so much memory left, and whose network takes so much a pair."""

    def __init__(self, free: int, a_pair: int) -> None:
        self.left, self.a_pair, self.released = free, a_pair, 0

    def free(self) -> int:
        return self.left

    def most_during(self, work: Callable[[], None]) -> int:
        work()
        return self.a_pair

    def release(self) -> None:
        self.released += 1


def with_passes(actor: FuseActor, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let an actor on the CPU do as on a GPU, and return how many pairs its passes hold."""
    sizes = []

    def spy(a: list[np.ndarray], b: list[np.ndarray], text_BT: torch.Tensor, *guide: Any) -> list[np.ndarray]:
        sizes.append(len(a))
        if sum(image.size for image in a) > 2 * 24 * 32 * 3 and memory.left < 10**6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return FusionModel.fuse_batch(actor.fuser, a, b, text_BT, *guide)

    monkeypatch.setattr(actor.fuser, "fuse_batch", spy)
    monkeypatch.setattr(actor, "memory", memory)
    monkeypatch.setattr(actor, "passes", ThreadPoolExecutor(PASSES_AT_ONCE_GPU))
    return sizes


def test_a_pass_holds_as_many_pairs_as_there_is_memory_for(actor, monkeypatch):
    alone = actor(decoded(*[MIXED[0]] * 14)).to_pylist()
    # 0.8 of what is free, for three passes at once, are 4.2 pairs.
    sizes = with_passes(actor, Memory(free=16 * 10**6, a_pair=10**6), monkeypatch)
    together = actor(decoded(*[MIXED[0]] * 14)).to_pylist()
    assert sizes[0] == 1
    assert sorted(sizes[1:]) == [1, 4, 4, 4]
    actor(decoded(*[MIXED[0]] * 8))
    assert sorted(sizes[5:]) == [2, 3, 3]  # three passes rather than two full ones
    for one, other in zip(alone, together, strict=True):
        assert other["error_code"] is None
        difference = unpack_image(one["fused"]).astype(int) - unpack_image(other["fused"])
        assert np.abs(difference).max() <= 1


def test_out_of_memory_halves_a_pass_and_the_smaller_one_is_remembered(actor, monkeypatch):
    memory = Memory(free=10**5, a_pair=1)
    sizes = with_passes(actor, memory, monkeypatch)
    assert actor(decoded(*[MIXED[0]] * 25))["error_code"].null_count == 25
    assert max(sizes) == 8
    assert actor.pairs_a_pass == {(24, 32): 2}
    assert memory.released
    sizes.clear()
    assert actor(decoded(*[MIXED[0]] * 25))["error_code"].null_count == 25
    assert max(sizes) == 2


def test_a_pair_that_does_not_fit_says_nothing_about_the_others_of_its_size(actor, monkeypatch):
    memory = Memory(free=16 * 10**6, a_pair=10**6)
    fail_on(actor, monkeypatch, MIXED[0][0], torch.OutOfMemoryError("CUDA out of memory."))
    monkeypatch.setattr(actor, "memory", memory)
    rows = actor(decoded(MIXED[0], MIXED[2], MIXED[2], MIXED[2])).to_pylist()
    assert [row["error_code"] for row in rows] == ["out_of_memory", None, None, None]
    assert actor.pairs_a_pass == {(24, 32): 4}


def test_an_actor_warms_up_before_its_first_pair(checkpoint_texts, monkeypatch):
    seen = []
    monkeypatch.setattr(FusionModel, "fuse_batch", lambda _, *given: seen.append(given) or given[0])
    actor = FuseActor(TINY, checkpoint_texts, ("en",), torch.get_num_threads(), on_gpu=False)
    ((a, b, text_BT),) = seen
    assert (len(a), len(b), text_BT.shape) == (1, 1, (1, actor.fuser.checkpoint.config.text_dim))
    monkeypatch.setattr(FusionModel, "fuse_batch", raising(RuntimeError("no such kernel")))
    FuseActor(TINY, checkpoint_texts, ("en",), torch.get_num_threads(), on_gpu=False)


def test_full_passes_hold_pairs_of_one_size_each_with_its_own_values(actor, monkeypatch):
    alone = actor(decoded(*MIXED)).to_pylist()
    passes = []

    def spy(a: list[np.ndarray], b: list[np.ndarray], text_BT: torch.Tensor, *guide: Any) -> list[np.ndarray]:
        passes.append([image.shape[:2] for image in a])
        return FusionModel.fuse_batch(actor.fuser, a, b, text_BT, *guide)

    monkeypatch.setattr(actor.fuser, "fuse_batch", spy)
    monkeypatch.setattr(fuse_actor, "PASSES_AT_ONCE_GPU", 1)
    actor.pairs_a_pass = {(24, 32): 2, (33, 21): 9}
    together = actor(decoded(*MIXED)).to_pylist()
    assert sorted(passes) == [[(16, 16)], [(24, 32)], [(24, 32), (24, 32)], [(33, 21)]]
    assert [row["pair_id"] for row in together] == ["0", "1", "2", "3", "4"]
    for one, other in zip(alone, together, strict=True):
        difference = unpack_image(one["fused"]).astype(int) - unpack_image(other["fused"])
        assert np.abs(difference).max() <= (1 if one["fused"]["bits"] == 8 else 2)
        assert one["ssim"] == pytest.approx(other["ssim"], rel=1e-2)
        assert one["en"] == pytest.approx(other["en"], rel=1e-2)


def test_every_pair_is_guided_by_the_text_of_its_task_or_prompt(actor, checkpoint_texts, monkeypatch):
    seen = []

    def spy(a: list[np.ndarray], _: list[np.ndarray], text_BT: torch.Tensor, *__: Any) -> list[np.ndarray]:
        seen.extend(text_BT.tolist())
        return a

    monkeypatch.setattr(actor.fuser, "fuse_batch", spy)
    monkeypatch.setattr(fuse_actor, "PASSES_AT_ONCE_GPU", 1)
    actor.pairs_a_pass = {(24, 32): 9}
    keys = list(checkpoint_texts)
    rows = [
        row | {"task": task, "prompt": prompt}
        for row, (task, prompt) in zip(decoded(*[MIXED[0]] * 3).to_pylist(), keys, strict=True)
    ]
    actor(pa.Table.from_pylist(rows, DECODED))
    for text, key in zip(seen, keys, strict=True):
        assert text == pytest.approx(checkpoint_texts[key])


def test_failed_pairs_pass_the_network_untouched(actor):
    good = decoded(MIXED[0])
    row = {"pair_id": "bad", "a_uri": "a", "b_uri": "b", "task": "ir_visible"}
    bad = pa.Table.from_pylist([row | {"error_code": "empty_file", "error": "0 bytes"}], DECODED)
    table = actor(pa.concat_tables([bad, good]))
    assert table.schema == fused_schema(("ssim", "en"))
    failed, fused = table.to_pylist()
    assert (failed["error_code"], failed["error"]) == ("empty_file", "0 bytes")
    assert all(failed[name] is None for name in ("fused", "ssim", "en", "fuse_ms", "measure_ms"))
    assert fused["error_code"] is None
    assert actor(bad)["error_code"].to_pylist() == ["empty_file"]


def fail_on(actor: FuseActor, monkeypatch: pytest.MonkeyPatch, culprit: np.ndarray, error: Exception) -> None:
    def fuse_batch(a: list[np.ndarray], b: list[np.ndarray], text_BT: torch.Tensor, *guide: Any) -> list[np.ndarray]:
        if any(np.array_equal(image, culprit) for image in a):
            raise error
        return FusionModel.fuse_batch(actor.fuser, a, b, text_BT, *guide)

    monkeypatch.setattr(actor.fuser, "fuse_batch", fuse_batch)


@pytest.mark.parametrize("pairs_a_pass", [1, 9])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("no such kernel"), "fuse_failed"),
        (ValueError("bad value"), "fuse_failed"),
        (MemoryError("none left"), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory."), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out_of_memory"),
    ],
)
def test_a_pair_that_cannot_be_fused_fails_alone(actor, monkeypatch, pairs_a_pass, error, code):
    fail_on(actor, monkeypatch, MIXED[2][0], error)
    monkeypatch.setattr(fuse_actor, "PASSES_AT_ONCE_GPU", 1)
    actor.pairs_a_pass = {(24, 32): pairs_a_pass}
    rows = actor(decoded(*MIXED)).to_pylist()
    assert [row["error_code"] for row in rows] == [None, None, code, None, None]
    assert rows[2]["error"] == f"32x24: {type(error).__name__}: {error}"
    assert rows[2]["fused"] is None
    assert all(row["fused"] is not None for row in rows if row["pair_id"] != "2")


def test_what_pytorch_says_when_memory_is_out_is_known(actor, monkeypatch):
    monkeypatch.setattr(actor.fuser, "fuse_batch", lambda *_: torch.empty(10**15))
    assert actor(decoded(MIXED[0]))["error_code"].to_pylist() == ["out_of_memory"]


def test_a_lost_device_stops_the_job_instead_of_failing_every_pair(actor, monkeypatch):
    fail_on(actor, monkeypatch, MIXED[0][0], RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        actor(decoded(*MIXED))


def test_a_metric_that_fails_fails_the_pair(actor, monkeypatch):
    monkeypatch.setattr(fuse_actor, "measure", raising(RuntimeError("no metric")))
    row = actor(decoded(MIXED[0])).to_pylist()[0]
    assert (row["error_code"], row["fused"], row["fuse_ms"]) == ("fuse_failed", None, None)


def test_no_secret_of_the_network_gets_into_a_row(actor, monkeypatch, secret):
    fail_on(actor, monkeypatch, MIXED[0][0], RuntimeError(f"got {secret}"))
    assert errors(actor(decoded(MIXED[0])))["0"] == ("fuse_failed", "32x24: RuntimeError: got ***")


def test_on_flat_pairs_metrics_are_null_and_nothing_fails(checkpoint_texts):
    actor = FuseActor(TINY, checkpoint_texts, tuple(METRICS), torch.get_num_threads(), on_gpu=False)
    flat = np.full((24, 32), 90, np.uint8)
    # Tiny pictures too, on which windows of some metrics do not fit; ms_ssim needs sides of 161.
    sizes = ((2, 3), (1, 1), (161, 168))
    table = actor(decoded((flat, flat), *((noise(*size), noise(*size)) for size in sizes)))
    rows = table.to_pylist()
    assert [row["error_code"] for row in rows] == [None] * 4
    assert all(rows[0][name] is None for name in METRICS)
    assert all(isinstance(rows[3][name], float) for name in METRICS)


def test_without_metrics_pairs_are_fused_all_the_same(checkpoint_texts):
    actor = FuseActor(TINY, checkpoint_texts, (), torch.get_num_threads(), on_gpu=False)
    table = actor(decoded(MIXED[0]))
    assert table.schema == fused_schema(())
    assert table["fused"].null_count == 0


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
def test_a_gpu_fuses_and_measures_as_a_cpu_does(actor, checkpoint_texts):
    block = decoded(*MIXED)
    here = actor(block).to_pylist()
    there = FuseActor(TINY, checkpoint_texts, ("ssim", "en"), 1, on_gpu=True)(block).to_pylist()
    for one, other in zip(here, there, strict=True):
        off = unpack_image(one["fused"]).astype(int) - unpack_image(other["fused"])
        # Two levels of 8 bits: convolutions of a GPU round to TF32.
        assert np.abs(off).max() <= (257 if one["fused"]["bits"] == 16 else 1) * 2
        assert other["ssim"] == pytest.approx(one["ssim"], abs=1e-2)
        assert other["error_code"] is None


@needs_gpu
def test_a_gpu_whose_memory_is_taken_meanwhile_gets_smaller_passes(checkpoint_texts):
    actor = FuseActor(TINY, checkpoint_texts, (), 1, on_gpu=True)
    pairs = [(noise(480, 640, 3, seed=i), noise(480, 640, seed=100 + i)) for i in range(4)] * 16
    before = actor(decoded(*pairs)).to_pylist()
    # As if another process had taken what was free when the first pair was measured.
    actor.pairs_a_pass[480, 640] = 64
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + (1 << 30)) / total)
    try:
        after = actor(decoded(*pairs)).to_pylist()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert actor.pairs_a_pass[480, 640] < 64
    assert errors(pa.Table.from_pylist(after)) == errors(pa.Table.from_pylist(before))
    for one, other in zip(before, after, strict=True):
        assert np.abs(unpack_image(one["fused"]).astype(int) - unpack_image(other["fused"])).max() <= 1
