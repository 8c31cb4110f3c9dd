import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

import upfusion
from upfusion import FusionModel
from upfusion.checkpoint import EMBEDDED
from upfusion.color import COLOR_RULES, Pixels, color_rule, luma
from upfusion.images import encode_image
from upfusion.presets import PRESETS
from upfusion.prompts import PROMPTS, TASKS
from upfusion.tiles import Tiles

SIZE = (37, 53)


@pytest.fixture(scope="module")
def tiny() -> FusionModel:
    return upfusion.load("tiny", device="cpu")


# What ships


def test_the_shipped_checkpoint_is_small(tiny: FusionModel) -> None:
    assert (EMBEDDED / "tiny.safetensors").stat().st_size < 8e6
    assert sum(p.numel() for p in tiny.network.parameters() if p.requires_grad) < 1.5e6


def test_the_shipped_checkpoint_is_the_preset(tiny: FusionModel) -> None:
    assert tiny.checkpoint.name == "tiny"
    assert tiny.checkpoint.config == PRESETS["tiny"]
    assert all(parameter.isfinite().all() for parameter in tiny.network.parameters())


def test_every_built_in_prompt_is_in_the_shipped_checkpoint(tiny: FusionModel) -> None:
    assert tiny.checkpoint.config.text_encoder == "all-MiniLM-L6-v2"
    assert set(tiny.checkpoint.prompts) == set(PROMPTS)
    assert {name: prompt.text for name, prompt in tiny.checkpoint.prompts.items()} == PROMPTS
    embeddings = torch.stack([prompt.embedding for prompt in tiny.checkpoint.prompts.values()])
    assert embeddings.shape == (len(PROMPTS), 384)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(len(PROMPTS)))
    assert len(embeddings.unique(dim=0)) == len(PROMPTS)


# Sources


@pytest.mark.parametrize("color_a", [True, False], ids=["color", "grey"])
@pytest.mark.parametrize("color_b", [True, False], ids=["on color", "on grey"])
def test_the_result_has_the_shape_of_a(tiny: FusionModel, color_a: bool, color_b: bool) -> None:
    a, b = _scene(color_a), _scene(color_b, seed=1)
    fused = tiny.fuse(a, b, task="ir_visible")
    assert fused.shape == a.shape
    assert fused.dtype == np.uint8
    assert (fused != a).mean() > 0.1


def test_paths_and_pillow_images_give_what_arrays_give(tiny: FusionModel, tmp_path: Path) -> None:
    a, b = _scene(color=True), _scene(color=False, seed=1)
    expected = tiny.fuse(a, b)
    for name, pixels in (("a", a), ("b", b)):
        (tmp_path / f"{name}.png").write_bytes(encode_image(pixels, "png"))
    np.testing.assert_array_equal(tiny.fuse(tmp_path / "a.png", str(tmp_path / "b.png")), expected)
    np.testing.assert_array_equal(tiny.fuse(Image.fromarray(a), Image.fromarray(b)), expected)


def test_tensors_and_floats_come_back_as_they_are_given(tiny: FusionModel) -> None:
    a, b = _scene(color=True), _scene(color=False, seed=1)
    expected = tiny.fuse(a, b)

    tensor = tiny.fuse(torch.from_numpy(a).permute(2, 0, 1), torch.from_numpy(b)[None])
    assert tensor.dtype == torch.uint8
    np.testing.assert_array_equal(tensor.permute(1, 2, 0), expected)

    floats = tiny.fuse((a / 255).astype(np.float32), torch.from_numpy(b / 255)[None])
    assert floats.dtype == np.float32
    assert np.abs(floats * 255 - expected).max() < 0.51

    half = tiny.fuse(torch.from_numpy(a / 255).half().permute(2, 0, 1), b)
    assert half.dtype == torch.float16
    assert np.abs(half.permute(1, 2, 0).float().numpy() * 255 - expected).max() < 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.full(SIZE, 1.5), r"\[0, 1\]"),
        (np.full(SIZE, np.nan), r"\[0, 1\]"),
        (torch.full(SIZE, -0.1), r"\[0, 1\]"),
        (torch.zeros(*SIZE, 3), r"\(3, H, W\)"),
        (np.zeros(SIZE, np.int32), "int32|8 or 16"),
    ],
    ids=["above 1", "NaN", "below 0", "channels last", "int32"],
)
def test_other_values_and_layouts_are_refused(tiny: FusionModel, wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.fuse(wrong, _scene(color=False))


def test_many_pairs_of_mixed_sizes_come_back_in_their_order(tiny: FusionModel) -> None:
    scenes = [(_scene(color=True, seed=seed), _scene(color=False, seed=seed + 9)) for seed in range(5)]
    pairs = [(a[:height], b[:height]) for (a, b), height in zip(scenes, (37, 37, 37, 20, 37), strict=True)]
    fused = list(tiny.fuse_many(iter(pairs), batch=2))
    for (a, b), one in zip(pairs, fused, strict=True):
        assert np.abs(one.astype(int) - tiny.fuse(a, b)).max() <= 1


def test_the_pairs_before_a_wrong_one_are_fused(tiny: FusionModel) -> None:
    a, b = _scene(color=True), _scene(color=False, seed=1)
    results = tiny.fuse_many([(a, b), (a[:20], b)])
    assert next(results).shape == a.shape
    with pytest.raises(ValueError, match="size"):
        next(results)


def test_a_model_says_what_it_is_and_survives_a_file(tiny: FusionModel, tmp_path: Path) -> None:
    assert re.fullmatch(r"FusionModel\(tiny, \d\.\d\d M weights, fp32 on cpu\)", repr(tiny))
    tiny.save(tmp_path / "mine.safetensors")
    again = upfusion.load(tmp_path / "mine.safetensors").to("cpu")
    a, b = _scene(color=True), _scene(color=False, seed=1)
    np.testing.assert_array_equal(again.fuse(a, b), tiny.fuse(a, b))


def test_a_pillow_image_is_turned_upright(tiny: FusionModel) -> None:
    a, b = _scene(color=True), _scene(color=False, seed=1)
    lying = Image.fromarray(np.rot90(a))
    lying.getexif()[ExifTags.Base.Orientation] = 6
    np.testing.assert_array_equal(tiny.fuse(lying, b), tiny.fuse(a, b))


@pytest.mark.parametrize(("depth_a", "depth_b"), [(np.uint16, np.uint8), (np.uint8, np.uint16), (np.uint16, np.uint16)])
def test_16_bits_are_kept(tiny: FusionModel, depth_a: Any, depth_b: Any) -> None:
    a, b = _scene(color=True), _scene(color=False, seed=1)
    expected = tiny.fuse(a, b)
    deep = tiny.fuse(_in_depth(a, depth_a), _in_depth(b, depth_b))
    assert deep.dtype == np.uint16
    assert (deep % 257 != 0).any()
    assert np.abs(deep / 257 - expected).max() < 0.51


def test_the_color_of_a_is_kept(tiny: FusionModel) -> None:
    a = _scene(color=True)
    fused = tiny.fuse(a, _scene(color=False, seed=1))
    # Cb and Cr are multiples of B - Y and R - Y: they stay where the differences of the channels stay.
    for channel in (0, 1):
        before, after = (image[..., channel].astype(int) - image[..., 2] for image in (a, fused))
        assert np.abs(after - before).max() <= 1


def test_the_luma_of_b_counts_and_not_its_color(tiny: FusionModel) -> None:
    a, b = _scene(color=True), np.full((*SIZE, 3), (200, 10, 60), np.uint8)
    grey = np.full(SIZE, np.rint(luma(b[:1, :1]) * 255).item(), np.uint8)
    assert np.abs(tiny.fuse(a, b).astype(int) - tiny.fuse(a, grey)).max() <= 1
    assert (tiny.fuse(a, b) != tiny.fuse(a, 255 - b)).mean() > 0.1


def test_the_balance_leads_from_a_to_b(tiny: FusionModel) -> None:
    a, b = _scene(color=True), _scene(color=False, seed=1)
    distances = []
    for balance in (-1.0, -0.5, 0.0, 0.5, 1.0):
        fused = luma(tiny.fuse(a, b, balance=balance))
        distances.append(np.abs(fused - luma(b)).mean() - np.abs(fused - luma(a)).mean())
    assert distances == sorted(distances, reverse=True)
    np.testing.assert_array_equal(tiny.fuse(a, b), tiny.fuse(a, b, balance=0.0))


@pytest.mark.parametrize("balance", [-1.01, 2.0, float("nan")])
def test_a_balance_outside_the_dial_is_refused(tiny: FusionModel, balance: float) -> None:
    with pytest.raises(ValueError, match=r"balance.*-1"):
        tiny.fuse(_scene(color=True), _scene(color=False), balance=balance)


def test_the_colour_rule_is_that_of_the_task_unless_given(tiny: FusionModel) -> None:
    a, b = _scene(color=True), _scene(color=False, seed=1)
    a[..., 0], a[..., 2] = 255, 0
    by_rule = {rule: tiny.fuse(a, b, task="pet_mri", color=rule) for rule in COLOR_RULES}
    assert (by_rule["keep-luma"] != by_rule["keep-chroma"]).any()
    np.testing.assert_array_equal(tiny.fuse(a, b, task="pet_mri"), by_rule["keep-luma"])


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 31)])
def test_small_and_odd_sizes(tiny: FusionModel, size: tuple[int, int]) -> None:
    a, b = _scene(color=True)[: size[0], : size[1]], _scene(color=False)[: size[0], : size[1]]
    assert tiny.fuse(a, b).shape == (*size, 3)


def test_a_batch_gives_what_single_pairs_give(tiny: FusionModel) -> None:
    pairs = [(_scene(color=True, seed=seed), _scene(color=False, seed=seed + 9)) for seed in range(3)]
    tasks = ["ir_visible", "ct_mri", "pet_mri"]
    text_BT = torch.stack([tiny.guidance.embed(task) for task in tasks])
    rules = [color_rule(task) for task in tasks]
    together = tiny.fuse_batch([a for a, _ in pairs], [b for _, b in pairs], text_BT, colors=rules)
    for (a, b), task, fused in zip(pairs, tasks, together, strict=True):
        assert np.abs(fused.astype(int) - tiny.fuse(a, b, task=task)).max() <= 1


def test_sizes_must_agree(tiny: FusionModel) -> None:
    a = np.zeros((40, 30), np.uint8)
    with pytest.raises(ValueError, match=r"\bA\b.*30x40.*\bB\b.*40x30"):
        tiny.fuse(a, a.T)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((*SIZE, 4), np.uint8),
        np.zeros((1, *SIZE, 3), np.uint8),
        np.zeros(9, np.uint8),
    ],
    ids=["four channels", "batch", "one row"],
)
def test_other_arrays_are_refused(tiny: FusionModel, image: Any) -> None:
    with pytest.raises(ValueError, match=r"\(H, W\).*\(H, W, 3\)"):
        tiny.fuse(image, _scene(color=False))


# Guidance


def test_the_task_chooses_the_prompt(tiny: FusionModel) -> None:
    for task in TASKS:
        assert torch.equal(tiny.guidance.embed(task), tiny.checkpoint.prompts[task].embedding)
    a, b = _scene(color=False), _scene(color=False, seed=1)
    lumas = [torch.from_numpy(luma(image))[None, None] for image in (a, b)]
    with torch.inference_mode():
        first, second = (tiny.network(*lumas, tiny.guidance.embed(task)[None]) for task in ("ir_visible", "ct_mri"))
    assert (first - second).abs().max() > 1e-6


def test_an_unknown_task_is_refused_with_the_known_ones(tiny: FusionModel) -> None:
    with pytest.raises(ValueError, match=r"'x_ray'.*ir_visible, ct_mri, .*sar_optical"):
        tiny.fuse(_scene(color=False), _scene(color=False), task="x_ray")


def test_a_built_in_prompt_is_chosen_by_its_name(tiny: FusionModel) -> None:
    a, b = _scene(color=False), _scene(color=False, seed=1)
    bone = tiny.fuse(a, b, task="ir_visible", prompt="ct_mri")
    np.testing.assert_array_equal(bone, tiny.fuse(a, b, task="ct_mri"))


# Precision and tiles


def test_bf16_is_close_to_fp32_and_not_the_same(tiny: FusionModel) -> None:
    half = FusionModel(tiny.checkpoint, tiny.device, precision="bf16")
    a, b = _scene(color=True), _scene(color=False, seed=1)
    difference = np.abs(half.fuse(a, b).astype(int) - tiny.fuse(a, b))
    assert 0 < difference.max() <= 24
    assert difference.mean() < 2


def test_large_images_are_fused_in_tiles_and_others_whole(tiny: FusionModel) -> None:
    tiled = FusionModel(tiny.checkpoint, tiny.device, tiles=Tiles(side=32, overlap=8))
    a, b = _scene(color=True), _scene(color=False, seed=1)
    whole, parts = tiny.fuse(a, b), tiled.fuse(a, b)
    assert parts.shape == whole.shape
    # Noise in tiles of 32 pixels is hard on gates that look at a tile; mirrored, the difference is 50.
    assert 0 < np.abs(parts.astype(int) - whole).mean() < 12
    np.testing.assert_array_equal(tiled.fuse(a[:32, :32], b[:32, :32]), tiny.fuse(a[:32, :32], b[:32, :32]))


# Loading


def test_a_checkpoint_file_is_loaded(tiny: FusionModel, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(tiny.checkpoint.to_bytes())
    mine = upfusion.load(path)
    assert mine.checkpoint.digest == tiny.checkpoint.digest
    a, b = _scene(color=True), _scene(color=False, seed=1)
    if mine.device.type == "cpu":
        np.testing.assert_array_equal(mine.fuse(a, b), tiny.fuse(a, b))


def test_an_unknown_model_is_refused_with_what_there_is() -> None:
    with pytest.raises(FileNotFoundError, match=r"'huge'.*tiny"):
        upfusion.load("huge")


def test_an_untrained_preset_has_a_network_and_fuses_nothing() -> None:
    base = upfusion.load("base", "cpu", pretrained=False)
    assert base.network.config == PRESETS["base"]
    with pytest.raises(ValueError, match=r"base.*untrained"):
        base.fuse_batch([_scene(color=False)], [_scene(color=False)], torch.rand(1, 512))


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(encode_image(_scene(color=True), "png"))
    with pytest.raises(ValueError, match=r"photo\.png.*checkpoint"):
        upfusion.load(path)


def test_a_gpu_is_used_where_there_is_one(tiny: FusionModel) -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert FusionModel(tiny.checkpoint).device.type == expected


def _scene(color: bool, seed: int = 0) -> Pixels:
    """Large and small structure, 8 bits."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 4, 5, generator=generator)
    large = torch.nn.functional.interpolate(coarse, size=SIZE, mode="bilinear")[0].permute(1, 2, 0)
    image = (255 * (0.8 * large + 0.2 * torch.rand(*SIZE, 3, generator=generator))).byte().numpy()
    return image if color else np.ascontiguousarray(image[..., 0])


def _in_depth(image: Pixels, dtype: Any) -> Pixels:
    return image.astype(np.uint16) * 257 if dtype == np.uint16 else image
