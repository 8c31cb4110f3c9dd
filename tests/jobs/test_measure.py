import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from jobs.command_line import main
from tests.values_in_text import numbers_in
from upfusion.metrics import METRICS, METRICS_VERSION


@pytest.fixture
def archive(tmp_path) -> Path:
    for seed, side in enumerate(("visible", "infrared", "fused")):
        (tmp_path / side).mkdir()
        for number in (1, 2):
            pixels = np.random.default_rng([seed, number]).integers(0, 256, (48, 60), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / side / f"{number}.png")
    return tmp_path


def measure(archive: Path, *words: object, name: str = "") -> Result:
    places = [str(archive / side / name) for side in ("visible", "infrared", "fused")]
    return CliRunner().invoke(main, ["measure", *places, *map(str, words)], env={"COLUMNS": "200"})


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]


def test_one_image_gives_its_values(archive):
    result = measure(archive, "--metrics", "en,sd", "--json", name="1.png")
    values = json.loads(result.stdout)["images"][0]["values"]
    shown = lines(measure(archive, "--metrics", "en,sd", name="1.png"))
    assert shown == [
        "metric value",
        f"en {values['en']:.4f} {METRICS['en'].title}",
        f"sd {values['sd']:.4f} {METRICS['sd'].title}",
    ]


def test_folders_give_the_spread_of_every_metric(archive):
    result = measure(archive, "--metrics", "en")
    assert (result.exit_code, result.stderr) == (0, "")
    told = json.loads(measure(archive, "--metrics", "en", "--json").stdout)
    spread = told["summary"]["en"]
    assert lines(result) == [
        "metric mean p5 median p95",
        "en " + " ".join(f"{spread[key]:.3f}" for key in ("mean", "p5", "p50", "p95")) + f" {METRICS['en'].title}",
        "2 of 2 fused images measured",
    ]
    assert told["metrics_version"] == METRICS_VERSION
    assert [image["name"] for image in told["images"]] == ["1", "2"]
    assert spread["mean"] == pytest.approx(np.mean([image["values"]["en"] for image in told["images"]]))


def test_what_failed_is_said_and_the_rest_measured(archive):
    (archive / "infrared" / "2.png").write_bytes(b"")
    (archive / "visible" / "3.png").write_bytes(b"")
    result = measure(archive, "--metrics", "en")
    assert result.exit_code == 3
    assert result.stderr.startswith("2: ")
    assert "2.png" in result.stderr
    counts, unpaired, name = lines(result)[2:]
    assert (numbers_in(counts), numbers_in(unpaired)) == (["1", "2"], ["1"])
    assert name == str(archive / "visible" / "3.png")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["measure"], "A "),
        (["measure", "x", "y", "z"], "A x"),
        (["measure", "x", "y", "z", "--metrics", "beauty"], "'beauty'"),
    ],
)
def test_a_wrong_request_is_refused(words, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr
