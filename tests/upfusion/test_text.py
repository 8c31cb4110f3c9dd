import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from upfusion.priors import PriorUnavailableError
from upfusion.text import embed_bank, load_text_encoder

from .small_priors import (
    CLIP,
    NO_HUB,
    TEXT_DIM,
    Trap,
    cut_off_from_hub,
    encode_by,
    in_pickle,
    make_clip,
    name_clip,
    put_in_cache,
    write_clip,
)

TEXTS = ("Keep the bone.", "A thermal image shows warm people; keep them.")
MINILM = "all-MiniLM-L6-v2"


class SentenceTransformer:
    """What is used of sentence-transformers; the embedding tells the length of the text."""

    opened: list[str] = []  # noqa: RUF012
    fails = False
    max_seq_length = 12

    def __init__(self, source: str, device: str, trust_remote_code: bool) -> None:
        if self.fails:
            raise OSError("this folder holds no model")
        assert device == "cpu"
        assert not trust_remote_code
        self.opened.append(source)

    def tokenizer(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [0, *range(len(text.split())), 0]}

    def encode(self, texts: list[str], normalize_embeddings: bool = False) -> np.ndarray[Any, Any]:
        embeddings = np.array([[len(text), 1.0, 2.0, 3.0] for text in texts])
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True) if normalize_embeddings else embeddings


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cache of a model hub that cannot be reached."""
    cut_off_from_hub(monkeypatch, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, cache: Path) -> type[SentenceTransformer]:  # noqa: ARG001
    stand_in = ModuleType("sentence_transformers")
    monkeypatch.setattr(stand_in, "SentenceTransformer", SentenceTransformer, raising=False)
    monkeypatch.setitem(sys.modules, "sentence_transformers", stand_in)
    monkeypatch.setattr(SentenceTransformer, "opened", [])
    return SentenceTransformer


# CLIP


def test_clip_in_a_folder_gives_what_it_gives_in_open_clip(tmp_path: Path) -> None:
    clip = make_clip()
    encode = load_text_encoder(CLIP, TEXT_DIM, write_clip(tmp_path / "clip", clip))
    embeddings_NT = encode(TEXTS)
    assert embeddings_NT.shape == (2, TEXT_DIM)
    assert embeddings_NT.dtype == torch.float32
    torch.testing.assert_close(embeddings_NT, encode_by(clip, *TEXTS))
    # The authors of UP-Fusion leave the embeddings at the length that CLIP gives them.
    assert (embeddings_NT.norm(dim=1) - 1).abs().min() > 0.1
    torch.testing.assert_close(encode(TEXTS[1:])[0], embeddings_NT[1])


@pytest.mark.parametrize("file", ["clip.safetensors", "clip.pt"])
def test_clip_in_a_file_of_weights_is_built_by_its_name(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_clip(monkeypatch, tmp_path)
    clip = make_clip()
    if file.endswith(".pt"):
        torch.save(clip.state_dict(), tmp_path / file)
    else:
        save_file(clip.state_dict(), tmp_path / file)
    encode = load_text_encoder(CLIP, TEXT_DIM, str(tmp_path / file))
    torch.testing.assert_close(encode(TEXTS), encode_by(clip, *TEXTS))


def test_a_network_can_be_trained_with_an_embedding(tmp_path: Path) -> None:
    encode = load_text_encoder(CLIP, TEXT_DIM, write_clip(tmp_path / "clip", make_clip()))
    layer = torch.nn.Linear(TEXT_DIM, 1)
    layer(encode(TEXTS)).sum().backward()
    assert layer.weight.grad is not None


def test_a_folder_without_weights_is_refused_by_name(tmp_path: Path) -> None:
    (write_clip(tmp_path / "clip", make_clip()) / "open_clip_model.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"{tmp_path}/clip.*{CLIP}.*weights"):
        load_text_encoder(CLIP, TEXT_DIM, tmp_path / "clip")


def test_a_folder_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{tmp_path}.*{CLIP}.*open_clip_config.json"):
        load_text_encoder(CLIP, TEXT_DIM, tmp_path)


@pytest.mark.parametrize("place", ["clip.pt", "clip/open_clip_pytorch_model.bin"])
def test_code_in_a_pickle_is_refused_and_not_run(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=rf"{Path(place).parts[0]}.*{CLIP}"):
        _load_trap(tmp_path, place, monkeypatch)
    assert not (tmp_path / "it-ran").exists()


def test_nobody_is_told_how_to_run_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"clip\.pt") as caught:
        _load_trap(tmp_path, "clip.pt", monkeypatch)
    assert "weights_only" not in str(caught.value)


def test_another_dimension_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_clip(tmp_path / "clip", make_clip())
    with pytest.raises(ValueError, match=rf"{folder}.* 16 .*512"):
        load_text_encoder(CLIP, 512, folder)


def test_a_text_that_clip_would_cut_off_is_refused(tmp_path: Path) -> None:
    clip = make_clip()
    encode = load_text_encoder(CLIP, TEXT_DIM, write_clip(tmp_path / "clip", clip))
    longest = " ".join(["bone"] * 75)
    torch.testing.assert_close(encode([longest]), encode_by(clip, longest))
    with pytest.raises(ValueError, match=r"bone bone.* 78 .*77"):
        encode(["Keep the bone.", longest + " bone"])


@pytest.mark.parametrize("name", [CLIP, MINILM])
def test_where_nothing_lies_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/clip"):
        load_text_encoder(name, TEXT_DIM, tmp_path / "clip")


def test_a_cache_that_was_copied_here_serves_without_the_hub(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_clip(monkeypatch, tmp_path)
    clip = make_clip()
    put_in_cache(cache, "timm/small-test", "open_clip_model.safetensors", clip.state_dict())
    torch.testing.assert_close(load_text_encoder(CLIP, TEXT_DIM)(TEXTS), encode_by(clip, *TEXTS))


def test_without_hub_and_cache_the_ways_out_are_named(cache: Path) -> None:
    began = time.monotonic()
    with pytest.raises(PriorUnavailableError) as caught:
        load_text_encoder("ViT-B-32-quickgelu/openai", 512)
    assert time.monotonic() - began < 10
    _assert_names_the_ways_out(caught.value, "ViT-B-32-quickgelu/openai", cache)


# sentence-transformers


def test_a_sentence_transformer_gives_unit_vectors(package: type[SentenceTransformer]) -> None:
    embeddings_NT = load_text_encoder(MINILM, 4)(TEXTS)
    assert embeddings_NT.dtype == torch.float32
    torch.testing.assert_close(embeddings_NT.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(embeddings_NT[:, 0] / embeddings_NT[:, 1], torch.tensor([float(len(t)) for t in TEXTS]))
    assert package.opened == [f"sentence-transformers/{MINILM}"]


def test_a_local_sentence_transformer_is_used_whatever_its_name(
    package: type[SentenceTransformer], tmp_path: Path
) -> None:
    load_text_encoder(MINILM, 4, str(tmp_path))
    assert package.opened == [str(tmp_path)]


@pytest.mark.usefixtures("package")
def test_a_text_that_a_sentence_transformer_would_cut_off_is_refused() -> None:
    encode = load_text_encoder(MINILM, 4)
    longest = " ".join(["bone"] * 10)
    encode([longest])
    with pytest.raises(ValueError, match=r"bone bone.* 13 .*12"):
        encode([longest + " bone"])


def test_a_folder_without_a_sentence_transformer_is_refused_by_name(
    package: type[SentenceTransformer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "fails", True)
    with pytest.raises(ValueError, match=rf"{tmp_path}.*{MINILM}"):
        load_text_encoder(MINILM, 4, tmp_path)


def test_a_sentence_transformer_that_is_not_to_be_had_is_named(
    package: type[SentenceTransformer], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "fails", True)
    with pytest.raises(PriorUnavailableError) as caught:
        load_text_encoder(MINILM, 4)
    _assert_names_the_ways_out(caught.value, MINILM, cache)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # None is how Python marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(PriorUnavailableError, match=rf"{MINILM}.*sentence-transformers") as caught:
        load_text_encoder(MINILM, 384)
    for way in ("pip install 'upfusion[prompts]'", "use a built-in prompt with a checkpoint that carries"):
        assert way in str(caught.value)


# Prompt banks


def test_a_bank_holds_every_text_with_its_embedding(tmp_path: Path) -> None:
    clip = make_clip()
    texts: Mapping[str, str] = {"ct_mri": TEXTS[0], "general": TEXTS[1]}
    bank = embed_bank(texts, CLIP, TEXT_DIM, write_clip(tmp_path / "clip", clip))
    assert {name: prompt.text for name, prompt in bank.items()} == texts
    for prompt in bank.values():
        torch.testing.assert_close(prompt.embedding, encode_by(clip, prompt.text)[0])
        # Its own memory: a file of tensors that share theirs is refused.
        assert prompt.embedding.untyped_storage().nbytes() == 4 * TEXT_DIM
        assert not prompt.embedding.is_inference()


def _load_trap(folder: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name_clip(monkeypatch, folder)
    (write_clip(folder / "clip", make_clip()) / "open_clip_model.safetensors").unlink()
    (folder / place).write_bytes(in_pickle({**make_clip().state_dict(), "more": Trap(folder / "it-ran")}))
    load_text_encoder(CLIP, TEXT_DIM, folder / Path(place).parts[0])


def _assert_names_the_ways_out(error: Exception, encoder: str, cache: Path) -> None:
    assert encoder in str(error)
    assert NO_HUB in str(error)
    assert str(cache) in str(error)
    for way in ("HF_HUB_CACHE", "--text-encoder", "built-in prompt"):
        assert way in str(error)
    assert error.__cause__ is not None
