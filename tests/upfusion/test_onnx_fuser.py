"""Networks of others: how their inputs are read, and what comes out."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

from tests.onnx_files import make_onnx  # noqa: E402  # only where onnx is installed
from tests.pipelines.blocks import noise  # noqa: E402
from upfusion.color import Pixels, luma8  # noqa: E402
from upfusion.onnx_fuser import OnnxFuser  # noqa: E402
from upfusion.runtimes import RuntimeMissingError  # noqa: E402

NO_TEXT = torch.zeros(1, 0)
A, B = noise(24, 32, 3, seed=1), noise(24, 32, seed=2)
FLOAT, BYTES = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8


def fuse(network: bytes, a: Pixels = A, b: Pixels = B) -> Pixels:
    (fused,) = OnnxFuser(network, "small", threads=1).fuse_batch([a], [b], NO_TEXT)
    return fused


def test_lumas_in_and_a_luma_out_have_the_colour_of_a() -> None:
    fused = fuse(make_onnx("Max"))
    assert fused.shape == A.shape
    room = (fused.min(-1) > 0) & (fused.max(-1) < 255)
    assert room.any()
    assert np.abs(luma8(fused) - np.maximum(luma8(A), luma8(B)))[room].max() <= 1


def test_images_in_and_an_image_out_keep_their_own_colours() -> None:
    fused = fuse(make_onnx("Max", channels=3))
    np.testing.assert_array_equal(fused, np.maximum(A, B[..., None]))


def test_images_in_and_a_luma_out_have_the_colour_of_a() -> None:
    grey = fuse(make_onnx("Max", channels=3, out_channels=1), A[..., 0], B)
    np.testing.assert_array_equal(grey, np.maximum(A[..., 0], B))
    assert fuse(make_onnx("Max", channels=3, out_channels=1)).shape == A.shape


def test_an_image_is_grey_where_a_is() -> None:
    fused = fuse(make_onnx("Max", channels=3), A[..., 0], B)
    np.testing.assert_array_equal(fused, np.maximum(A[..., 0], B))


def test_sixteen_bits_are_kept() -> None:
    a = noise(24, 32, dtype=np.uint16, seed=1)
    fused = fuse(make_onnx("Max"), a, B)
    assert fused.dtype == np.uint16
    np.testing.assert_array_equal(fused, np.maximum(a, B.astype(np.uint16) * 257))


@pytest.mark.parametrize("given", [{"element": BYTES}, {"metadata": {"upfusion.value_range": "0..255"}}])
def test_values_from_0_to_255(given: dict[str, Any]) -> None:
    # A constant that is added shows the scale: Max of bytes, and of floats that are bytes.
    network = make_onnx("Max", **given)
    np.testing.assert_array_equal(fuse(network, A[..., 0], B), np.maximum(A[..., 0], B))


def test_values_that_leave_the_range_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"upfusion\.value_range"):
        fuse(_with_scale(make_onnx("Max"), 255.0))


def test_nan_is_refused() -> None:
    with pytest.raises(FloatingPointError):
        fuse(_with_scale(make_onnx("Max"), float("nan")))
    with pytest.raises(FloatingPointError):
        fuse(_with_scale(make_onnx("Max", channels=3), float("nan")))


@pytest.mark.parametrize(("inputs", "expected"), [(("ir", "vis"), "vis"), (("x", "y"), "x"), (("A", "B"), "A")])
def test_which_input_is_a(inputs: tuple[str, str], expected: str) -> None:
    layout = OnnxFuser(make_onnx("Sub", inputs=inputs), "small", threads=1).layout
    assert layout.a.name == expected


def test_a_fixed_size_takes_that_size_alone() -> None:
    network = make_onnx("Max", size=(24, 32))
    assert fuse(network).shape == A.shape
    with pytest.raises(ValueError, match="32x24"):
        fuse(network, A[:20], B[:20])


def test_sides_are_padded_to_the_multiple_that_the_file_names() -> None:
    network = make_onnx("Max", size=(32, 32), metadata={"upfusion.size_multiple": "16"})
    grey = A[..., 0]
    np.testing.assert_array_equal(fuse(network, grey, B), np.maximum(grey, B))


@pytest.mark.parametrize(
    "network",
    [
        b"no network",
        make_onnx("Sum", inputs=("a", "b", "c")),
        make_onnx("Identity", inputs=("a",)),
        make_onnx("Max", channels=4),
        make_onnx("Max", rank=3),
        make_onnx("Max", element=onnx.TensorProto.DOUBLE),
        make_onnx("Max", metadata={"upfusion.value_range": "0..1023"}),
        make_onnx("Max", metadata={"upfusion.size_multiple": "0"}),
        make_onnx("Max", inputs=("a", "text")),
    ],
    ids=["bytes", "three inputs", "one input", "4 channels", "rank 3", "double", "range", "multiple", "a text"],
)
def test_any_other_network_is_refused(network: bytes) -> None:
    with pytest.raises(ValueError, match="small"):
        OnnxFuser(network, "small", threads=1)


def test_weights_in_another_file_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = onnx.load_from_string(_with_scale(make_onnx("Max"), 1.0))
    (factor,) = model.graph.initializer
    factor.ClearField("float_data")
    factor.raw_data = np.float32(1).tobytes()
    onnx.external_data_helper.set_external_data(factor, "secret.bin", length=4)
    factor.ClearField("raw_data")
    (tmp_path / "secret.bin").write_bytes(np.float32(1).tobytes())
    with pytest.raises(ValueError, match="small"):
        OnnxFuser(model.SerializeToString(), "small", threads=1)


def test_without_the_runtime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeMissingError, match=r"upfusion\[onnxruntime\]"):
        OnnxFuser(make_onnx(), "small", threads=1)


def test_what_it_takes_is_described() -> None:
    described = OnnxFuser(make_onnx("Max", channels=3, size=(24, "width")), "small", threads=1).layout.describe()
    assert described["Size"] == "any x 24 pixels"
    assert json.dumps(described)


def _with_scale(network: bytes, factor: float) -> bytes:
    model = onnx.load_from_string(network)
    model.graph.node[-1].CopyFrom(onnx.helper.make_node("Mul", ["joined", "factor"], ["fused"]))
    model.graph.initializer.append(onnx.helper.make_tensor("factor", FLOAT, [], [factor]))
    return bytes(model.SerializeToString())
