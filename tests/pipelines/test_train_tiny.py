"""The plain training loop, on a few steps."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.request import RequestError
from pipelines.train_tiny import TrainTinyConfig, draw_batch, learning_rate, train_tiny
from tests.archives import make_archive
from upfusion.checkpoint import parse_checkpoint


@pytest.fixture(autouse=True)
def text_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    class SentenceTransformer:
        max_seq_length = 256

        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def tokenizer(self, text: str, **_: Any) -> dict[str, list[str]]:
            return {"input_ids": text.split()}

        def encode(self, texts: list[str], **_: Any) -> np.ndarray:
            return np.stack([self._encode(text) for text in texts])

        def _encode(self, text: str) -> np.ndarray:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
            vector = np.random.default_rng(seed).normal(size=384)
            return vector / np.linalg.norm(vector)

    module = ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


def config(folder: Path, out: str, **changed: Any) -> TrainTinyConfig:
    settings = {"data": (f"{folder}/in=2",), "out": str(folder / out), "steps": 4, "batch": 2, "crop": 32}
    return TrainTinyConfig(**settings | changed)


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(tmp_path / "in" / "train", 3)
    monkeypatch.setattr("pipelines.train_tiny.SAVE_EVERY", 2)
    said: list[str] = []
    train_tiny(config(tmp_path, "whole"), said.append)
    assert said == ["3 images of pairs in memory"]

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.train_tiny._follow", _after(2, stop))
        with pytest.raises(KeyboardInterrupt):
            train_tiny(config(tmp_path, "parts"), said.append)
    train_tiny(config(tmp_path, "parts"), said.append)
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def _after(calls: int, action: Any) -> Any:
    from pipelines.train_tiny import _follow

    left = [calls]

    def follow(*arguments: Any) -> None:
        if left[0] == 0:
            action()
        left[0] -= 1
        _follow(*arguments)

    return follow


def test_the_checkpoint_says_what_it_was_trained_on_and_can_be_loaded(tmp_path: Path) -> None:
    make_archive(tmp_path / "in" / "train", 2)
    train_tiny(config(tmp_path, "tiny", steps=1), lambda _: None)
    checkpoint = parse_checkpoint((tmp_path / "tiny").read_bytes(), "tiny")
    provenance = checkpoint.provenance
    assert provenance.data == "infrared-visible pairs only: in=2"
    assert (provenance.training["steps"], provenance.epochs) == (1, 1.0)
    assert str(tmp_path) not in str(provenance)
    assert (
        checkpoint.build_network()(torch.rand(1, 1, 32, 32), torch.rand(1, 1, 32, 32), torch.rand(1, 384))
        .isfinite()
        .all()
    )


def test_training_moves_the_weights_down_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_archive(tmp_path / "in" / "train", 1)
    monkeypatch.setattr("pipelines.train_tiny.REPORT_EVERY", 20)
    monkeypatch.setattr("pipelines.train_tiny.WARM_UP", 1)
    said: list[str] = []
    train_tiny(config(tmp_path, "tiny", steps=40, batch=1, crop=48), said.append)
    first, last = (float(line.split("loss ")[1].split(",")[0]) for line in said[1:])
    assert last < first


def test_only_the_split_is_trained_on(tmp_path: Path) -> None:
    make_archive(tmp_path / "in" / "test", 2)
    with pytest.raises(RequestError, match="'train'"):
        train_tiny(config(tmp_path, "tiny"), lambda _: None)


def test_a_batch_depends_on_its_step_alone(tmp_path: Path) -> None:
    from pipelines.train_tiny import Sample

    rng = np.random.default_rng(0)
    samples = [Sample(rng.random((40, 50)).astype(np.float16), rng.random((40, 50)).astype(np.float16), 1.0)]
    prompts = {"ir_visible": torch.zeros(384), "general": torch.ones(384)}
    settings = config(tmp_path, "x")
    one, again, other = (draw_batch(samples, prompts, settings, step) for step in (7, 7, 8))
    assert all(torch.equal(x, y) for x, y in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    assert one[0].shape == one[1].shape == (2, 1, 32, 32)
    assert one[2].shape == (2, 384)


def test_the_learning_rate_warms_up_and_falls_to_a_fiftieth(tmp_path: Path) -> None:
    settings = config(tmp_path, "x", steps=1000, learning_rate=1.0)
    assert learning_rate(0, settings) < 0.01
    assert learning_rate(200, settings) > 0.9
    assert learning_rate(999, settings) == pytest.approx(0.02, abs=1e-3)
