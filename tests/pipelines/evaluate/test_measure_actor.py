import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from pipelines.evaluate import measure_actor
from pipelines.evaluate.measure_actor import MeasureActor, fetch_fusions, fuse_by_baseline
from pipelines.evaluate.rows import FAILED, FETCHED, OK, WORK, measured_schema
from pipelines.measure.config import MeasureConfig
from pipelines.measure.measure import measure_images
from pipelines.storage import objects as storage
from pipelines.storage.schema_version import SCHEMA_VERSION
from tests.pipelines.blocks import encoded, noise, raising
from upfusion.baselines import BASELINES
from upfusion.color import Pixels, exchange_luma, luma8
from upfusion.images import encode_image
from upfusion.metrics import METRICS, METRICS_VERSION, measure

CHOSEN = ("vif", "ssim", "en")


def put(uri: str, pixels: Pixels) -> str:
    storage.write_bytes(uri, encode_image(pixels, "png"))
    return uri


@pytest.fixture
def images(tmp_path) -> Path:
    """A pair with A in colour, and a fused image of it."""
    put(f"{tmp_path}/a.png", noise(48, 60, 3, seed=1))
    put(f"{tmp_path}/b.png", noise(48, 60, seed=2))
    put(f"{tmp_path}/fused.png", noise(48, 60, 3, seed=3))
    return tmp_path


def work(folder: object, *methods: str, pair_id: str = "1") -> pa.Table:
    """A pair with its fusions: baselines by their names, all else a file NAME.png."""
    fusions = [
        {"key": f"{pair_id} {name}", "method": name, "fuse_ms": None if name in BASELINES else 5.0}
        | ({"baseline": name} if name in BASELINES else {"uri": f"{folder}/{name}.png"})
        for name in methods
    ]
    pair = {"set": "night", "pair_id": pair_id, "task": "ir_visible", "detect": False, "fusions": fusions}
    return pa.Table.from_pylist([pair | {"a_uri": f"{folder}/a.png", "b_uri": f"{folder}/b.png"}], WORK)


def measured(block: pa.Table, metrics: tuple[str, ...] = CHOSEN) -> dict[str, dict]:
    """What the stages make of a block, by method."""
    fetched = fetch_fusions(block)
    assert fetched.schema == FETCHED
    table = MeasureActor(metrics, torch.get_num_threads(), on_gpu=False)(fetched)
    assert table.schema == measured_schema(metrics)
    return {row["method"]: row for row in table.to_pylist()}


def expected(*lumas: np.ndarray, metrics: tuple[str, ...] = CHOSEN) -> dict[str, float | None]:
    tensors = (torch.from_numpy(luma)[None, None] for luma in lumas)
    return {name: value for name, (value,) in measure(*tensors, metrics).items()}


def values(row: dict, metrics: tuple[str, ...] = CHOSEN) -> dict[str, float | None]:
    return {name: row[name] for name in metrics}


# Values


def test_a_fused_image_has_the_values_of_its_luma_and_those_of_the_measure_job(images):
    row = measured(work(images, "fused"))["fused"]
    a, b, fused = noise(48, 60, 3, seed=1), noise(48, 60, seed=2), noise(48, 60, 3, seed=3)
    assert values(row) == expected(luma8(a), luma8(b), luma8(fused))
    places = {name: f"{images}/{file}.png" for name, file in (("a", "a"), ("b", "b"), ("fused", "fused"))}
    assert values(row) == measure_images(MeasureConfig(**places, metrics=CHOSEN)).measured[0].values
    assert (row["key"], row["set"], row["pair_id"], row["task"]) == ("1 fused", "night", "1", "ir_visible")
    assert (row["status"], row["error_code"], row["error"], row["note"]) == (OK, None, None, None)
    assert (row["width"], row["height"], row["metrics_version"]) == (60, 48, METRICS_VERSION)
    assert row["schema_version"] == SCHEMA_VERSION
    assert (row["fuse_ms"], row["why_none"], row["detections"]) == (5.0, [], None)
    assert row["measure_ms"] > 0


def test_baselines_are_measured_as_images_in_the_colour_of_a_and_only_those_that_fuse_take_time(images):
    rows = measured(work(images, *BASELINES))
    a, b = noise(48, 60, 3, seed=1), noise(48, 60, seed=2)
    lumas = luma8(a), luma8(b)
    for name, baseline in BASELINES.items():
        fused = {"a": a, "b": b}.get(name, exchange_luma(a, baseline(*lumas) / np.float32(255)))
        assert values(rows[name]) == expected(*lumas, luma8(fused))
        assert rows[name]["note"] is None
    assert {name for name, row in rows.items() if row["fuse_ms"] is None} == {"a", "b"}
    assert all(row["fuse_ms"] > 0 for name, row in rows.items() if name not in ("a", "b"))


def test_every_pair_of_a_block_is_measured_with_its_own_images(place, images):
    for side, seed in (("a", 4), ("b", 5), ("fused", 6)):
        put(f"{place}/other/{side}.png", noise(40, 52, seed=seed))
    block = pa.concat_tables([work(images, "fused"), work(f"{place}/other", "fused", pair_id="2")])
    rows = MeasureActor(CHOSEN, torch.get_num_threads(), on_gpu=False)(fetch_fusions(block)).to_pylist()
    assert [row["key"] for row in rows] == ["1 fused", "2 fused"]
    assert values(rows[0]) == values(measured(work(images, "fused"))["fused"])
    assert values(rows[1]) == expected(*(luma8(noise(40, 52, seed=seed)) for seed in (4, 5, 6)))
    assert [(row["width"], row["height"]) for row in rows] == [(60, 48), (52, 40)]


def test_images_of_16_bits_have_the_values_of_those_of_8(images):
    shallow = measured(work(images, "fused", "mean", "laplacian"))
    for name in ("a", "b", "fused"):
        pixels = noise(48, 60, *(() if name == "b" else (3,)), seed={"a": 1, "b": 2, "fused": 3}[name])
        put(f"{images}/{name}.png", pixels.astype(np.uint16) * 257)
    deep = measured(work(images, "fused", "mean", "laplacian"))
    assert {name: values(row) for name, row in deep.items()} == {name: values(row) for name, row in shallow.items()}


def test_a_metric_without_a_value_says_why(tmp_path):
    for name in ("a", "b", "fused"):
        put(f"{tmp_path}/{name}.png", noise(20, 24, seed=len(name)))
    put(f"{tmp_path}/flat.png", np.full((20, 24), 7, np.uint8))
    rows = measured(work(tmp_path, "fused", "flat"), tuple(METRICS))
    assert rows["fused"]["en"] is not None
    reasons = dict(rows["fused"]["why_none"])
    assert set(reasons) == {name for name in METRICS if METRICS[name].smallest_side > 20}
    assert all(f" {METRICS[name].smallest_side} " in why for name, why in reasons.items())
    assert set(reasons) == {name for name in METRICS if rows["fused"][name] is None}
    assert rows["flat"]["status"] == OK
    assert re.search(r"\bF\b.*\bflat\b", dict(rows["flat"]["why_none"])["ssim"])


# What fails


@pytest.mark.parametrize(
    ("data", "code", "value"),
    [
        (encoded(noise(48, 61)), "size_mismatch", "61x48"),
        (encoded(noise(48, 60))[:300], "truncated_image", ""),
        (b"", "empty_file", ""),
        (b"no image", "not_an_image", ""),
        (None, "source_missing", ""),
    ],
    ids=["size", "truncated", "empty", "text", "gone"],
)
def test_a_bad_fused_image_fails_alone_and_by_name(place, data, code, value):
    for name, seed in (("a", 1), ("b", 2), ("fused", 3)):
        put(f"{place}/{name}.png", noise(48, 60, seed=seed))
    if data is not None:
        storage.write_bytes(f"{place}/bad.png", data)
    rows = measured(work(place, "fused", "bad", "mean"))
    bad = rows.pop("bad")
    assert (bad["status"], bad["error_code"], bad["key"]) == (FAILED, code, "1 bad")
    assert bad["error"].startswith(f"{place}/bad.png")
    assert value in bad["error"]
    assert set(values(bad).values()) == {None}
    assert [row["status"] for row in rows.values()] == [OK, OK]
    assert all(None not in values(row).values() for row in rows.values())


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize(("data", "code"), [(b"", "empty_file"), (None, "source_missing")])
def test_a_bad_source_fails_every_fusion_of_its_pair(images, side, data, code):
    (images / f"{side}.png").unlink()
    if data is not None:
        (images / f"{side}.png").write_bytes(data)
    rows = measured(work(images, "fused", "gone", "mean"))
    assert {row["error_code"] for row in rows.values()} == {code}
    assert all(row["error"].startswith(f"{images}/{side}.png") for row in rows.values())
    assert {row["status"] for row in rows.values()} == {FAILED}


def test_sources_of_two_sizes_fail_every_fusion_of_their_pair_and_no_other(images):
    for name in ("a", "fused"):
        put(f"{images}/other/{name}.png", noise(48, 60, seed=1))
    put(f"{images}/other/b.png", noise(60, 48, seed=2))
    block = pa.concat_tables([work(images / "other", "fused", "mean"), work(images, "fused", pair_id="2")])
    rows = MeasureActor(CHOSEN, torch.get_num_threads(), on_gpu=False)(fetch_fusions(block)).to_pylist()
    assert [row["error_code"] for row in rows] == ["size_mismatch", "size_mismatch", None]
    assert re.search(r"\bA\b.*60x48.*\bB\b.*48x60", rows[1]["error"])


def test_a_metric_that_breaks_fails_its_row_alone(images, monkeypatch):
    flat = np.full((48, 60), 7, np.uint8)
    put(f"{images}/bad.png", flat)

    def break_on_one(a: torch.Tensor, b: torch.Tensor, f: torch.Tensor, names: tuple[str, ...]) -> dict:
        if (f == 7).all():
            raise FloatingPointError("no such number")
        return measure(a, b, f, names)

    monkeypatch.setattr(measure_actor, "measure", break_on_one)
    rows = measured(work(images, "bad", "fused", "mean"))
    assert [row["status"] for row in rows.values()] == [FAILED, OK, OK]
    assert rows["bad"]["error_code"] == "measure_failed"
    assert rows["bad"]["error"] == f"{images}/bad.png: FloatingPointError: no such number"


def test_a_baseline_that_breaks_is_named(images, monkeypatch):
    monkeypatch.setattr(measure_actor, "measure", raising(MemoryError("none left")))
    row = measured(work(images, "mean"))["mean"]
    assert (row["status"], row["error_code"], row["error"]) == (
        FAILED,
        "measure_failed",
        "mean: MemoryError: none left",
    )


def test_a_decoder_that_breaks_fails_its_file_alone(images, monkeypatch):
    decode, bad = measure_actor.decode_image, put(f"{images}/bad.png", noise(48, 60, seed=9))
    broken = storage.read_bytes(bad)

    def break_on_one(data: bytes, max_pixels: int) -> object:
        if data == broken:
            raise KeyError("a decoder's own mistake")
        return decode(data, max_pixels)

    monkeypatch.setattr(measure_actor, "decode_image", break_on_one)
    rows = measured(work(images, "bad", "fused"))
    assert rows["bad"]["error_code"] == "damaged_image"
    assert rows["bad"]["error"].startswith(f"{bad}: KeyError")
    assert rows["fused"]["status"] == OK


def test_no_secret_gets_into_a_row(images, monkeypatch, secret):
    monkeypatch.setattr(measure_actor, "measure", raising(RuntimeError(f"got {secret}")))
    assert measured(work(images, "mean"))["mean"]["error"] == "mean: RuntimeError: got ***"
    monkeypatch.setattr(storage, "read_many", lambda uris, _: [OSError(5, f"signed with {secret}")] * len(uris))
    row = measured(work(images, "mean"))["mean"]
    assert row["error_code"] == "source_unreadable"
    assert row["error"].startswith(f"{images}/a.png ")
    assert row["error"].endswith("signed with ***")


# What is odd and measured all the same

GREY_NOTE = "grey, and A is in colour"
NAME_NOTE = "its extension names a different format than its content"


def grey_in_colour(pixels: np.ndarray) -> np.ndarray:
    return np.stack([pixels] * 3, axis=-1)


@pytest.mark.parametrize(
    ("a", "fused", "note"),
    [
        (noise(48, 60, 3, seed=1), noise(48, 60, 3, seed=3), None),
        (noise(48, 60, 3, seed=1), noise(48, 60, seed=3), GREY_NOTE),
        (noise(48, 60, 3, seed=1), grey_in_colour(noise(48, 60, seed=3)), GREY_NOTE),
        (noise(48, 60, seed=1), noise(48, 60, seed=3), None),
        (grey_in_colour(noise(48, 60, seed=1)), noise(48, 60, seed=3), None),
        (noise(48, 60, seed=1), noise(48, 60, 3, seed=3), None),
    ],
    ids=["colour", "grey", "grey in three", "grey A", "grey A in three", "colour of grey"],
)
def test_a_grey_image_of_a_colourful_scene_is_noted(images, a, fused, note):
    put(f"{images}/a.png", a)
    put(f"{images}/fused.png", fused)
    row = measured(work(images, "fused"))["fused"]
    assert (row["status"], row["note"]) == (OK, note)
    assert None not in values(row).values()


def test_a_jpeg_in_a_png_is_noted(images):
    (images / "fused.png").write_bytes(encoded(noise(48, 60, 3, seed=3), "JPEG"))
    assert measured(work(images, "fused"))["fused"]["note"] == NAME_NOTE
    (images / "fused.png").write_bytes(encoded(noise(48, 60, seed=3), "JPEG"))
    row = measured(work(images, "fused"))["fused"]
    assert (row["status"], row["note"]) == (OK, f"{GREY_NOTE}; {NAME_NOTE}")


# Baselines for eyes


def test_baselines_are_shown_in_the_colour_of_a_and_the_copies_as_they_are():
    a, b = noise(48, 60, 3, seed=1) // 2 + 64, noise(48, 60, seed=2) // 2 + 64
    assert fuse_by_baseline("a", a, b, "ir_visible") is a
    assert fuse_by_baseline("b", a, b, "ir_visible") is b
    shown = fuse_by_baseline("mean", a, b, "ir_visible")
    assert (shown.shape, shown.dtype) == (a.shape, np.uint8)
    inside = (shown.min(-1) > 0) & (shown.max(-1) < 255)
    assert inside.mean() > 0.8
    difference = np.abs(luma8(shown) - BASELINES["mean"](luma8(a), luma8(b)))[inside]
    assert difference.max() <= 1
    colour = (shown.astype(int) - shown[..., :1])[inside]
    assert np.abs(colour - (a.astype(int) - a[..., :1])[inside]).max() <= 1


def test_files_and_images_larger_than_the_limits_are_not_measured(images):
    block = work(images, "fused", "mean")
    rows = MeasureActor(CHOSEN, 1, on_gpu=False)(fetch_fusions(block, max_bytes=100)).to_pylist()
    assert {row["error_code"] for row in rows} == {"too_large"}
    rows = MeasureActor(CHOSEN, 1, on_gpu=False, max_pixels=48 * 60 - 1)(fetch_fusions(block)).to_pylist()
    assert {row["error_code"] for row in rows} == {"too_large"}
    rows = MeasureActor(CHOSEN, 1, on_gpu=False, max_pixels=48 * 60)(fetch_fusions(block, 10_000_000)).to_pylist()
    assert {row["error_code"] for row in rows} == {None}
