"""Fuse jobs with a rule without weights, and with the network of others."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jobs.command_line import main
from pipelines.checkpoints.fusion_method import BaselineMethod, read_method
from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.measure_actor import fuse_by_baseline
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import plan_fuse
from tests.archives import make_archive
from upfusion.images import read_image


def config(folder: Path, **settings: object) -> FuseConfig:
    given = {"metrics": ("ssim",), "images": "files", "no_tracking": True, "runner": "inline"} | settings
    return FuseConfig(**{"source": str(folder / "in"), "out": str(folder / "out")} | given)


@pytest.fixture
def network(tmp_path) -> str:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.onnx_files import make_onnx

    (tmp_path / "theirs.onnx").write_bytes(make_onnx("Max"))
    return f"onnx:{tmp_path / 'theirs.onnx'}"


def test_a_job_with_a_baseline_has_rows_images_metrics_and_a_report(tmp_path):
    ids = make_archive(tmp_path / "in", 2)
    outcome = fuse(plan_fuse(config(tmp_path, model="laplacian", price_per_hour=3.5)))
    assert (outcome.pairs, outcome.ok) == (2, 2)
    assert outcome.price.fused_per_currency_unit == pytest.approx(2 / (3.5 * outcome.seconds / 3600))
    rows = Destination(str(tmp_path / "out")).read_columns(["pair_id", "status", "model", "ssim"]).to_pylist()
    assert {row["pair_id"] for row in rows} == set(ids)
    assert {(row["status"], row["model"]) for row in rows} == {("ok", "laplacian")}
    assert all(row["ssim"] is not None for row in rows)
    sources = [read_image(tmp_path / "in" / sensor / f"{ids[0]}.png") for sensor in ("visible", "infrared")]
    image = read_image(tmp_path / "out" / "images" / f"{ids[0]}.png")
    np.testing.assert_array_equal(image, fuse_by_baseline("laplacian", *sources, "ir_visible"))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["model"]["kind"] == "baseline"
    report = (tmp_path / "out" / "report.html").read_text()
    assert "laplacian" in report
    assert outcome.price.describe() in report
    assert fuse(plan_fuse(config(tmp_path, model="laplacian", price_per_hour=1.0))).price is None  # nothing to do


def test_a_job_with_the_network_of_others_resumes_and_belongs_to_its_file(tmp_path, network):
    make_archive(tmp_path / "in", 2)
    assert fuse(plan_fuse(config(tmp_path, model=network, limit=1))).fused_now == 1
    outcome = fuse(plan_fuse(config(tmp_path, model=network)))
    assert (outcome.ok, outcome.fused_now) == (2, 1)
    with pytest.raises(UsageError, match="model"):
        fuse(plan_fuse(config(tmp_path, model="max")))


def test_a_size_that_the_network_does_not_take_is_a_failed_row(tmp_path, network):
    from tests.onnx_files import make_onnx

    Path(network.removeprefix("onnx:")).write_bytes(make_onnx("Max", size=(16, 16)))
    make_archive(tmp_path / "in", 1)
    outcome = fuse(plan_fuse(config(tmp_path, model=network)))
    assert (outcome.ok, outcome.failed) == (0, 1)
    (row,) = Destination(str(tmp_path / "out")).read_columns(["error_code", "error"]).to_pylist()
    assert row["error_code"] == "fuse_failed"
    assert "16x16" in row["error"]


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": "general"},
        {"balance": 0.5},
        {"tile": 256},
        {"precision": "bf16"},
        {"text_encoder": "/nowhere"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_options_of_a_network_have_no_meaning_for_a_baseline(tmp_path, given):
    make_archive(tmp_path / "in", 1)
    with pytest.raises(UsageError, match="no meaning"):
        plan_fuse(config(tmp_path, model="mean", **given))


def test_a_colour_rule_has_no_meaning_where_images_come_out(tmp_path, network):
    from tests.onnx_files import make_onnx

    make_archive(tmp_path / "in", 1)
    plan_fuse(config(tmp_path, model=network, color="keep-luma"))
    Path(network.removeprefix("onnx:")).write_bytes(make_onnx("Max", channels=3))
    with pytest.raises(UsageError, match="no meaning"):
        plan_fuse(config(tmp_path, model=network, color="keep-luma"))


@pytest.mark.parametrize("model", ["onnx:/nowhere.onnx", "onnx:README.md"])
def test_a_file_that_is_no_network_is_refused(model):
    pytest.importorskip("onnxruntime")
    with pytest.raises(UsageError, match=r"--model"):
        read_method(model)


def test_methods_travel_to_the_actors(network):
    for method in (BaselineMethod("max"), read_method("tiny"), read_method(network)):
        there = pickle.loads(pickle.dumps(method))
        assert (there.name, there.digest) == (method.name, method.digest)
        assert len(pickle.dumps(method)) < len(getattr(method, "data", b"")) + 1000


def test_two_images_by_a_baseline_from_the_command_line(tmp_path):
    (name,) = make_archive(tmp_path, 1)
    sources = [str(tmp_path / sensor / f"{name}.png") for sensor in ("visible", "infrared")]
    out = tmp_path / "fused.png"
    result = CliRunner().invoke(main, ["fuse", *sources, "-o", str(out), "--model", "laplacian"])
    assert result.exit_code == 0, result.output
    a, b = map(read_image, sources)
    np.testing.assert_array_equal(np.asarray(Image.open(out)), fuse_by_baseline("laplacian", a, b, "ir_visible"))


def test_info_describes_a_baseline_and_a_network_of_others(network):
    for model, kind in (("laplacian", "baseline"), (network, "onnx")):
        result = CliRunner().invoke(main, ["info", model, "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["kind"] == kind
        assert CliRunner().invoke(main, ["info", model]).exit_code == 0


@pytest.fixture
def small(tmp_path, monkeypatch) -> str:
    """A small trained checkpoint, exported into a cache of its own."""
    pytest.importorskip("onnxscript")
    from tests.exported import small_checkpoint, small_onnx

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("upfusion.exported_network.export_onnx", lambda _: small_onnx())
    small_checkpoint().save(tmp_path / "small.safetensors")
    return str(tmp_path / "small.safetensors")


@pytest.mark.slow
def test_a_job_in_another_runtime_gives_the_same_images_within_a_level(tmp_path, small):
    ids = make_archive(tmp_path / "in", 2)
    outcome = fuse(plan_fuse(config(tmp_path, model=small, runtime="onnxruntime")))
    assert outcome.ok == 2
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["result"]["runtime"] == "onnxruntime"
    assert run["versions"]["onnxruntime"]
    fuse(plan_fuse(config(tmp_path, model=small, out=str(tmp_path / "torch"))))
    for name in ids:
        one, other = (read_image(tmp_path / out / "images" / f"{name}.png").astype(int) for out in ("out", "torch"))
        assert np.abs(one - other).max() <= 1
    with pytest.raises(UsageError, match="runtime"):
        fuse(plan_fuse(config(tmp_path, model=small)))
    assert fuse(plan_fuse(config(tmp_path, model=small, runtime="onnxruntime"))).fused_now == 0


@pytest.mark.parametrize(
    ("given", "missing"),
    [({"model": "mean", "runtime": "openvino"}, ()), ({"model": "tiny", "runtime": "onnxruntime"}, ("onnxscript",))],
)
def test_a_runtime_that_a_method_lacks_or_that_is_not_installed_is_refused(tmp_path, monkeypatch, given, missing):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    make_archive(tmp_path / "in", 1)
    with pytest.raises(UsageError, match="--runtime"):
        plan_fuse(config(tmp_path, **given))


def test_the_network_of_others_runs_in_openvino(tmp_path, network):
    pytest.importorskip("openvino")
    make_archive(tmp_path / "in", 1)
    assert fuse(plan_fuse(config(tmp_path, model=network, runtime="openvino"))).ok == 1
