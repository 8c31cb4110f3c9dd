"""`upfusion create`, with priors in an object store."""

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
    assert result.stdout.splitlines() == [
        "Untrained small with 7 embedded prompts: it is for training and cannot fuse yet.",
        f"Checkpoint {bucket}/start.safetensors",
    ]
    made = parse_checkpoint(storage.read_bytes(f"{bucket}/start.safetensors"), "start")
    assert made.weights["scpm.prior.stem.0.weight"].equal(make_convnext()["stem.0.weight"])
    assert list(made.prompts) == list(PROMPTS)
    refused = CliRunner().invoke(main, ["fuse", str(tmp_path), "--out", "x", "--model", f"{bucket}/start.safetensors"])
    assert refused.exit_code == 2
    assert "is untrained and would produce noise" in refused.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["huge", "--out", "x"], "Error: unknown preset 'huge'; known presets: paper, base, tiny, nano, small"),
        (["small"], "Error: --out is missing"),
        (["small", "--out", "x", "--weights", "nowhere.pth"], "--weights nowhere.pth: no such file or folder"),
        (["small", "--out", "x", "--weights", "."], "no file of ConvNeXt weights lies at"),
        (["small", "--out", "x"], "pretrained ConvNeXt small_convnext.made_here was found neither on the model hub"),
    ],
)
def test_what_cannot_work_is_refused(words, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cut_off_from_hub(monkeypatch, tmp_path / "cache")
    result = create(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr
    assert not Path("x").exists()
