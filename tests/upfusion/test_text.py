import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from upfusion.text import TextEncoderUnavailableError, encode_prompt


class Encoder:
    """What is used of sentence-transformers; the embedding tells the length of the text."""

    opened: list[tuple[str, str]] = []  # noqa: RUF012
    fails = False

    def __init__(self, source: str, device: str) -> None:
        if self.fails:
            raise OSError("no connection to the hub")
        self.opened.append((source, device))

    def encode(self, text: str, normalize_embeddings: bool = False) -> np.ndarray[Any, Any]:
        embedding = np.array([len(text), 1.0, 2.0, 3.0])
        return embedding / np.linalg.norm(embedding) if normalize_embeddings else embedding


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> type[Encoder]:
    package = ModuleType("sentence_transformers")
    monkeypatch.setattr(package, "SentenceTransformer", Encoder, raising=False)
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    monkeypatch.setattr(Encoder, "opened", [])
    return Encoder


def test_a_prompt_becomes_a_unit_vector(encoder: type[Encoder]) -> None:
    embedding = encode_prompt("Keep the bone.", "all-MiniLM-L6-v2")
    assert embedding.shape == (4,)
    assert embedding.dtype == torch.float32
    assert embedding.norm().item() == pytest.approx(1)
    assert (embedding[0] / embedding[1]).item() == pytest.approx(len("Keep the bone."))
    assert encoder.opened == [("sentence-transformers/all-MiniLM-L6-v2", "cpu")]


def test_a_local_copy_is_used_whatever_its_name(encoder: type[Encoder], tmp_path: Path) -> None:
    encode_prompt("Keep the bone.", "all-MiniLM-L6-v2", str(tmp_path))
    assert encoder.opened == [(str(tmp_path), "cpu")]


@pytest.mark.parametrize("name", ["elsewhere", "all-MiniLM-L6-v2"])
def test_a_location_that_is_no_folder_is_named(encoder: type[Encoder], tmp_path: Path, name: str) -> None:
    with pytest.raises(TextEncoderUnavailableError, match=rf"no text encoder lies at {tmp_path}/{name}") as caught:
        encode_prompt("Keep the bone.", "all-MiniLM-L6-v2", str(tmp_path / name))
    _assert_names_the_ways_out(caught.value)
    assert not encoder.opened


def test_an_encoder_that_cannot_be_loaded_is_named(encoder: type[Encoder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "fails", True)
    with pytest.raises(TextEncoderUnavailableError, match="from sentence-transformers/all-MiniLM-L6-v2") as caught:
        encode_prompt("Keep the bone.", "all-MiniLM-L6-v2")
    _assert_names_the_ways_out(caught.value)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    # None is how Python marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(TextEncoderUnavailableError, match="sentence-transformers is not installed") as caught:
        encode_prompt("Keep the bone.", "all-MiniLM-L6-v2")
    assert "'all-MiniLM-L6-v2'" in str(caught.value)
    _assert_names_the_ways_out(caught.value)


@pytest.mark.parametrize("prompt", ["", "  \n"])
@pytest.mark.usefixtures("encoder")
def test_an_empty_prompt_is_refused(prompt: str) -> None:
    with pytest.raises(ValueError, match="the prompt is empty"):
        encode_prompt(prompt, "all-MiniLM-L6-v2")


def _assert_names_the_ways_out(error: Exception) -> None:
    for way in ("built-in prompt", "pip install 'upfusion[prompts]'", "HF_HOME", "--text-encoder FOLDER"):
        assert way in str(error)
