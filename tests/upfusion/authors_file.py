"""The authors' network at small width: weights, inputs, intermediate results and output, where that file is there."""

from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

PATH = Path(__file__).parents[3] / "shared" / "official" / "official_small.safetensors"


def read_authors() -> dict[str, Tensor]:
    """Read everything in the file, `weights.*`, `input.*`, `tap.*` and `output.*`; skips the test without it."""
    if not PATH.exists():
        pytest.skip(f"the authors' weights and results are not at {PATH}")
    return load_file(PATH)


def weights_of(authors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict under the authors' names."""
    return {name.removeprefix("weights."): tensor for name, tensor in authors.items() if name.startswith("weights.")}
