"""`upfusion convert` on the authors' weights at small width, from their file to a model that gives their result."""

import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

import upfusion
from jobs.command_line import main
from pipelines.checkpoints.config import ConvertConfig
from pipelines.checkpoints.convert import _embed
from tests.upfusion.authors_file import read_authors, weights_of
from tests.upfusion.small_priors import cut_off_from_hub, encode_by, make_clip, write_clip
from upfusion.presets import NetworkConfig
from upfusion.prompts import PROMPTS


@pytest.fixture(scope="module")
def authors() -> dict[str, Tensor]:
    return read_authors()


def convert(*words: object) -> Result:
    return CliRunner().invoke(main, ["convert", *map(str, words)], env={"COLUMNS": "300"})


def save(authors: dict[str, Tensor], path: Path) -> Path:
    torch.save({"AWF": {f"module.{name}": tensor for name, tensor in weights_of(authors).items()}}, path)
    return path


def test_the_authors_file_becomes_a_model_with_their_result(authors, tmp_path):
    out = tmp_path / "authors.safetensors"
    result = convert(save(authors, tmp_path / "Fuse.pth"), "--out", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"\b44\b.*encoder_level1_gt\.", result.stdout)
    assert re.search(r"text encoder\b.*\b64\b", result.stdout)
    model = upfusion.load(out, "cpu")
    red, green, blue = authors["input.visible"].split(1, dim=1)
    with torch.no_grad():
        fused = model.network(
            0.299 * red + 0.587 * green + 0.114 * blue, authors["input.infrared"], authors["input.text"]
        )
    torch.testing.assert_close(fused, authors["output.fused"], rtol=0, atol=1e-5)
    assert model.checkpoint.name == "authors"
    assert model.checkpoint.provenance.notes == ("converted from Fuse.pth",)
    with pytest.raises(ValueError, match=r"authors.*unknown"):
        model.guidance.embed("ir_visible")


def test_a_checkpoint_that_is_there_is_not_overwritten(authors, tmp_path):
    out = tmp_path / "authors.safetensors"
    out.write_bytes(b"hours of training")
    result = convert(save(authors, tmp_path / "Fuse.pth"), "--out", out)
    assert result.exit_code == 2
    assert f"--out {out}" in result.stderr
    assert out.read_bytes() == b"hours of training"


def test_a_prompt_that_cannot_be_encoded_is_refused_and_nothing_written(authors, tmp_path):
    out = tmp_path / "authors.safetensors"
    result = convert(save(authors, tmp_path / "Fuse.pth"), "--out", out, "--prompt", "Keep all.")
    assert result.exit_code == 2
    assert re.search(r"--prompt\b.*\b64\b", result.stderr)
    assert not out.exists()


def test_weights_of_another_network_are_listed(authors, tmp_path):
    state = {name: t for name, t in authors.items() if name != "weights.output.weight"}
    state["weights.stray"] = torch.zeros(1)
    result = convert(save(state, tmp_path / "Fuse.pth"), "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert re.search(r"\bstray\b.*\n  decoder\.output\.weight\b", result.stderr)


def test_code_in_a_pickle_is_not_executed(tmp_path):
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"AWF": {"patch_embed.proj.weight": Trap()}}, tmp_path / "trap.pth")
    result = convert(tmp_path / "trap.pth", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "pickle" in result.stderr
    assert not (tmp_path / "sprung").exists()
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_named(tmp_path):
    result = convert(tmp_path / "Fuse.pth", "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"SOURCE {tmp_path / 'Fuse.pth'}" in result.stderr


def test_the_authors_text_becomes_the_prompt_of_every_task(authors, tmp_path):
    """With T = 512 the encoder is CLIP; this one is small and has random weights."""
    state = dict(authors)
    for tcpm in (*(f"encoder_shuffle_channel{level}" for level in (1, 2, 3)), "latent_shuffle_channel"):
        hidden, weight = (f"weights.{tcpm}.text_fc.{layer}" for layer in (0, 2))
        state |= {f"{hidden}.weight": torch.rand(512, 512), f"{hidden}.bias": torch.rand(512)}
        state[f"{weight}.weight"] = torch.rand(len(state[f"{weight}.bias"]), 512)
    source, clip, out = save(state, tmp_path / "Fuse.pth"), make_clip(text_dim=512), tmp_path / "out.safetensors"
    words = ("--out", out, "--prompt", "Keep all.", "--text-encoder", write_clip(tmp_path / "clip", clip))
    result = convert(source, *words)
    assert (result.exit_code, result.stderr) == (0, "")
    model = upfusion.load(out, "cpu")
    assert {name: prompt.text for name, prompt in model.checkpoint.prompts.items()} == {"general": "Keep all."}
    torch.testing.assert_close(model.guidance.embed("ct_mri"), encode_by(clip, "Keep all.")[0])
    image = torch.randint(0, 256, (16, 24), dtype=torch.uint8).numpy()
    assert model.fuse(image, image, task="ct_mri").shape == (16, 24)


def test_without_a_text_every_task_has_its_built_in_prompt_and_the_person_is_told(tmp_path, monkeypatch):
    network, source = NetworkConfig(), ConvertConfig(source="Fuse.pth", out="out", text_encoder=str(tmp_path / "clip"))
    write_clip(tmp_path / "clip", make_clip(text_dim=512))
    prompts, reason = _embed(network, source)
    assert reason is None
    assert {name: prompt.text for name, prompt in prompts.items()} == PROMPTS
    cut_off_from_hub(monkeypatch, tmp_path / "cache")
    prompts, reason = _embed(network, source.model_copy(update={"text_encoder": None}))
    assert prompts == {}
    assert reason is not None
    assert "--text-encoder" in reason
