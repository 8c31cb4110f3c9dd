"""`upfusion create`, with priors in an object store."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from safetensors.torch import save

from jobs.command_line import main
from pipelines.storage import objects as storage
from tests.upfusion.small_priors import NETWORK, cut_off_from_hub, make_clip, make_convnext, write_clip
from upfusion.checkpoint import parse_checkpoint
from upfusion.presets import PRESETS
from upfusion.prompts import PROMPTS


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "small", NETWORK)


def create(*words: object) -> Result:
    return CliRunner().invoke(main, ["create", *map(str, words)], env={"COLUMNS": "300"})


def test_priors_from_a_store_go_into_the_checkpoint(object_store, tmp_path):
    bucket = object_store.new_bucket()
    storage.write_bytes(f"{bucket}/convnext.safetensors", save(make_convnext()))
    for file in write_clip(tmp_path / "clip", make_clip()).iterdir():
        storage.write_bytes(f"{bucket}/clip/{file.name}", file.read_bytes())
    priors = ("--weights", f"{bucket}/convnext.safetensors", "--text-encoder", f"{bucket}/clip")
    result = create("small", "--out", f"{bucket}/start.safetensors", *priors)
    assert (result.exit_code, result.stderr) == (0, "")
    what, where = result.stdout.splitlines()
    assert re.search(r"\bsmall\b.*\b7\b", what)
    assert where.endswith(f" {bucket}/start.safetensors")
    made = parse_checkpoint(storage.read_bytes(f"{bucket}/start.safetensors"), "start")
    assert made.weights["scpm.prior.stem.0.weight"].equal(make_convnext()["stem.0.weight"])
    assert list(made.prompts) == list(PROMPTS)
    refused = CliRunner().invoke(main, ["fuse", str(tmp_path), "--out", "x", "--model", f"{bucket}/start.safetensors"])
    assert refused.exit_code == 2
    assert "untrained" in refused.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["huge", "--out", "x"], "paper, base, tiny, nano, small"),
        (["small"], "--out"),
        (["small", "--out", "x", "--weights", "nowhere.pth"], "--weights nowhere.pth"),
        (["small", "--out", "x", "--weights", "."], "ConvNeXt"),
        (["small", "--out", "x"], "small_convnext.made_here"),
    ],
)
def test_what_cannot_work_is_refused(words, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cut_off_from_hub(monkeypatch, tmp_path / "cache")
    result = create(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr
    assert not Path("x").exists()
