"""A network of ours in other runtimes."""

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from pipelines.demo.street import draw_pair  # only where the exporter is installed
from tests.exported import small_checkpoint, small_onnx
from upfusion import exported_network
from upfusion.checkpoint import Checkpoint
from upfusion.exported_network import export_for_runtime
from upfusion.model import FusionModel, load
from upfusion.runtimes import FASTEST
from upfusion.tiles import Tiles


@pytest.fixture
def small() -> Checkpoint:
    return small_checkpoint()


@pytest.fixture
def onnx() -> bytes:
    return small_onnx()


def test_it_is_exported_once(small, tmp_path, monkeypatch):
    made = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(exported_network, "export_onnx", lambda _: made.append(b"network") or b"network")
    assert export_for_runtime(small) == export_for_runtime(small) == b"network"
    assert len(made) == 1


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("tiles", [None, Tiles(side=48, overlap=16)])
def test_images_are_within_a_level_of_pytorchs(small, onnx, runtime, tiles):
    pytest.importorskip(runtime)
    pairs = [draw_pair(np.random.default_rng(seed), 72, 56) for seed in (1, 2)]
    model = FusionModel(small, "cpu", runtime=runtime, onnx=onnx, tiles=tiles)
    expected = FusionModel(small, "cpu", tiles=tiles)
    for balance in (0.0, -0.6):
        together = model.fuse_many(pairs, balance=balance)
        for (a, b), fused in zip(pairs, together, strict=True):
            difference = np.abs(fused.astype(int) - expected.fuse(a, b, balance=balance))
            assert difference.max() <= 1


def test_only_on_the_cpu_and_in_full_precision(small, onnx):
    with pytest.raises(ValueError, match="bf16"):
        FusionModel(small, "cpu", runtime="onnxruntime", onnx=onnx, precision="bf16")
    with pytest.raises(ValueError, match="onnxruntime"):
        FusionModel(small, "cpu", runtime="onnxruntime", onnx=onnx).to("meta")
    assert FusionModel(small, "cpu", runtime="auto", precision="bf16", onnx=onnx).runtime == "torch"


def test_auto_is_the_fastest():
    assert load("tiny", "cpu", runtime="auto").runtime == FASTEST
