from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from upfusion.weights_file import parse_weights

from .small_priors import Trap, in_pickle

WEIGHTS = {"stem.weight": torch.arange(6.0).reshape(2, 3), "stem.bias": torch.tensor([1.5, 2.5])}


@pytest.mark.parametrize("data", [save(WEIGHTS), in_pickle(WEIGHTS)], ids=["safetensors", "pickle"])
def test_weights_are_read(data: bytes) -> None:
    found = parse_weights(data, "mine")
    assert set(found) == set(WEIGHTS)
    assert all(torch.equal(found[name], tensor) for name, tensor in WEIGHTS.items())


def test_a_pickle_may_hold_plain_containers_around_the_weights() -> None:
    found = parse_weights(in_pickle({"model": WEIGHTS, "epoch": 3, "args": ["--lr", 0.1]}), "mine")
    assert torch.equal(found["model"]["stem.weight"], WEIGHTS["stem.weight"])
    assert found["epoch"] == 3


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "it-ran"
    data = in_pickle({**WEIGHTS, "more": Trap(trap)})
    with pytest.raises(ValueError, match=r"s3://models/mine\.pth.*tensors") as caught:
        parse_weights(data, "s3://models/mine.pth")
    assert not trap.exists()
    # PyTorch's own text tells how to have it run after all.
    assert "weights_only" not in str(caught.value)
    (tmp_path / "mine.pth").write_bytes(data)
    torch.load(tmp_path / "mine.pth", weights_only=False)
    assert trap.exists(), "the trap itself does not work"


@pytest.mark.parametrize("whole", [save(WEIGHTS), in_pickle(WEIGHTS)], ids=["safetensors", "pickle"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_by_name(whole: bytes, share: float) -> None:
    with pytest.raises(ValueError, match=r"mine\.pth.*weights"):
        parse_weights(whole[: int(share * len(whole))], "mine.pth")


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"{", b"no weights", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(8) + b"{}", b"\x80\x02", b"PK\3\4"],
)
def test_other_files_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"mine\.pth.*weights"):
        parse_weights(data, "mine.pth")


@pytest.mark.parametrize("text", [b"Repository not found", b"Go"])
def test_text_that_looks_like_a_pickle_is_refused_by_name(text: bytes) -> None:
    # The first is what a model hub answers and curl saves.
    with pytest.raises(ValueError, match=r"mine\.pth.*weights"):
        parse_weights(text, "mine.pth")


@pytest.mark.parametrize(("content", "kind"), [(WEIGHTS["stem.bias"], "Tensor"), ([WEIGHTS], "list"), (3, "int")])
def test_weights_must_have_names(content: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=rf"mine\.pth.*{kind}"):
        parse_weights(in_pickle(content), "mine.pth")
