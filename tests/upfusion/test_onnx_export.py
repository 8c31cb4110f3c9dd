"""Checkpoints as ONNX files: what comes out equals what PyTorch gives."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from pipelines.demo.street import draw_pair  # noqa: E402  # only where onnx is installed
from tests.archives import real_set  # noqa: E402
from tests.exported import small_checkpoint, small_onnx  # noqa: E402
from upfusion.checkpoint import Checkpoint, Provenance  # noqa: E402
from upfusion.color import Pixels, luma  # noqa: E402
from upfusion.images import encode_image, read_image  # noqa: E402
from upfusion.model import FusionModel, load  # noqa: E402
from upfusion.onnx_export import export_onnx  # noqa: E402
from upfusion.onnx_fuser import OnnxFuser  # noqa: E402
from upfusion.wishes import Wish  # noqa: E402

SIZES = [(48, 64), (51, 77), (8, 8), (40, 9)]


@pytest.fixture
def small() -> Checkpoint:
    return small_checkpoint()


@pytest.fixture
def exported() -> bytes:
    return small_onnx()


@pytest.fixture
def dynamic(exported: bytes) -> OnnxFuser:
    return OnnxFuser(exported, "small", threads=1)


def lumas(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    a, b = draw_pair(np.random.default_rng(0), 96, 72)
    return luma(a)[None, : size[0], : size[1]], luma(b)[None, : size[0], : size[1]]


def difference(model: FusionModel, fuser: OnnxFuser, pair: tuple[np.ndarray, np.ndarray], balance: float) -> float:
    """Largest difference in levels of 255."""
    text_T = model.guidance.embed("ir_visible")
    a, b = (torch.from_numpy(np.ascontiguousarray(x))[None] for x in pair)
    expected = model.fuse_lumas(a, b, text_T[None], torch.tensor([balance]))[0].numpy()
    return float(np.abs(fuser.run(*map(np.ascontiguousarray, pair), text_T, balance) - expected).max()) * 255


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("balance", [0.0, -0.8])
def test_any_size_gives_what_pytorch_gives(
    small: Checkpoint, dynamic: OnnxFuser, size: tuple[int, int], balance: float
):
    model = FusionModel(small, "cpu")
    assert difference(model, dynamic, lumas(size), balance) < 0.05


def test_a_wish_for_less_noise_is_in_the_graph(small: Checkpoint, dynamic: OnnxFuser):
    """The branch that PyTorch takes only where something wishes for quiet."""
    network = small.build_network()
    texts_NT = torch.randn(2000, 6, generator=torch.Generator().manual_seed(0)) * 3
    quiet_N = network.read_wishes(texts_NT)[:, Wish._fields.index("quiet")]
    assert quiet_N.max() > 0.2
    text_T = texts_NT[quiet_N.argmax()]
    a, b = lumas((48, 64))
    model = FusionModel(small, "cpu")
    expected = model.fuse_lumas(torch.from_numpy(a)[None], torch.from_numpy(b)[None], text_T[None])[0].numpy()
    assert np.abs(dynamic.run(a, b, text_T, 0.0) - expected).max() * 255 < 0.05


def test_the_file_says_what_it_is(small: Checkpoint, dynamic: OnnxFuser):
    metadata = dynamic.session.metadata
    assert metadata["upfusion.digest"] == small.digest
    assert metadata["upfusion.pads_to_multiple"] == "8"
    assert metadata["upfusion.value_range"] == "0..1"
    assert json.loads(metadata["upfusion.provenance"])["trained"] is True
    assert set(dynamic.layout.prompts) == {"general", "ir_visible"}
    assert [port.name for port in dynamic.session.inputs] == ["a", "b", "text", "balance"]


@pytest.mark.slow
def test_a_fixed_size_text_and_balance_are_baked_in_and_halves_are_close(small: Checkpoint):
    text_T = small.prompts["general"].embedding
    data = export_onnx(small, (51, 77), precision="fp16", text_T=text_T, balance=0.5, notes={"upfusion.prompt": "x"})
    fuser = OnnxFuser(data, "small", threads=1)
    assert [port.name for port in fuser.session.inputs] == ["a", "b"]
    assert fuser.layout.size == (51, 77)
    assert fuser.session.metadata["upfusion.prompt"] == "x"
    model = onnx.load_from_string(data)
    assert {one.version for one in model.opset_import if not one.domain} == {18}
    assert any(weight.data_type == onnx.TensorProto.FLOAT16 for weight in model.graph.initializer)
    assert str(Path(__file__).parents[2]).encode() not in data  # no path of the machine that wrote it
    a, b = lumas((51, 77))
    expected = FusionModel(small, "cpu").fuse_lumas(
        torch.from_numpy(a.copy())[None], torch.from_numpy(b.copy())[None], text_T[None], torch.tensor([0.5])
    )
    difference = np.abs(fuser.run(a.copy(), b.copy(), torch.zeros(0), 0.0) - expected[0].numpy()).max() * 255
    assert 0 < difference < 3


def test_an_untrained_model_is_refused(small: Checkpoint):
    with pytest.raises(ValueError, match="untrained"):
        export_onnx(replace(small, provenance=Provenance(trained=False)))


def test_the_script_of_the_docs_fuses_with_onnx_runtime_alone(small: Checkpoint, exported: bytes, tmp_path: Path):
    (tmp_path / "small.onnx").write_bytes(exported)
    script = Path(__file__).parents[2] / "docs" / "fuse_onnx.py"
    spec = importlib.util.spec_from_file_location("fuse_onnx", script)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    a, b = draw_pair(np.random.default_rng(1), 64, 48)
    for name, image in (("a", a), ("b", b)):
        (tmp_path / f"{name}.png").write_bytes(encode_image(image, "png"))
    sources = (module.read(str(tmp_path / f"{name}.png")) for name in ("a", "b"))
    fused = np.rint(module.fuse(str(tmp_path / "small.onnx"), *sources) * 255)
    assert np.abs(fused - FusionModel(small, "cpu").fuse(a, b)).max() <= 1


@pytest.mark.extended
@pytest.mark.parametrize("name", ["tiny", "nano"])
def test_real_pairs_of_five_sizes_give_what_pytorch_gives(name: str):
    model = load(name, "cpu")
    fuser = OnnxFuser(export_onnx(model.checkpoint), name, threads=1)
    worst = {pair: difference(model, fuser, _real(pair), 0.0) for pair in _real_pairs()}
    assert len(worst) == 20
    assert len({_real(pair)[0].shape for pair in worst}) >= 5
    assert max(worst.values()) < 0.5


def _real_pairs() -> list[tuple[Path, Path]]:
    """Four pairs of each of five sets."""
    from pipelines.archive.config import ArchiveConfig
    from pipelines.archive.discover import discover

    pairs = []
    for name in ("msrs", "llvip_half", "m3fd", "roadscene", "tno"):
        found = discover(ArchiveConfig(source=str(real_set(name)), limit=4)).pairs.to_pylist()
        pairs += [(Path(row["a_uri"]), Path(row["b_uri"])) for row in found[:4]]
    return pairs


def _real(pair: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray]:
    images: list[Pixels] = [read_image(path) for path in pair]
    return luma(images[0])[None], luma(images[1])[None]
