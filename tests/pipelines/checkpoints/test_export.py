"""A model as an ONNX file, from the command line."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jobs.command_line import main
from pipelines.checkpoints import export
from tests.exported import small_checkpoint, small_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    small_checkpoint().save(tmp_path / "small.safetensors")
    return tmp_path / "small.safetensors"


def export_model(*words: object) -> Result:
    return CliRunner().invoke(main, ["export-model", *map(str, words)])


def test_a_model_is_compared_and_then_written(small, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "export_onnx", lambda *_, **__: small_onnx())
    out = tmp_path / "small.onnx"
    result = export_model(small, "--out", out)
    assert result.exit_code == 0, result.output
    assert "at most 0.00" in result.stdout
    assert out.read_bytes() == small_onnx()
    assert export_model(small, "--out", out).exit_code == 2  # never over an existing file

    monkeypatch.setattr(export, "LARGEST_DIFFERENCE", {"fp32": -1.0})
    other = tmp_path / "other.onnx"
    assert export_model(small, "--out", other).exit_code == 2
    assert not other.exists()


@pytest.mark.parametrize(
    "given",
    [("--size", "48"), ("--size", "0x64"), ("--balance", "2"), ("--precision", "bf16"), ("--prompt", "")],
    ids=" ".join,
)
def test_invalid_options_are_refused(small, tmp_path, given):
    assert export_model(small, "--out", tmp_path / "x.onnx", *given).exit_code == 2


def test_the_extra_is_named_where_a_package_is_missing(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    result = export_model(small, "--out", tmp_path / "x.onnx")
    assert result.exit_code == 2
    assert "upfusion[export]" in result.output
