import json
import re
from dataclasses import asdict

import pytest
from click.testing import CliRunner, Result

from jobs.command_line import main
from tests.values_in_text import numbers_in
from upfusion.checkpoint import EMBEDDED, parse_checkpoint
from upfusion.presets import PRESETS
from upfusion.prompts import PROMPTS

CONVNEXT_TINY = "ConvNeXt with depths 3 3 9 3 and widths 96 192 384 768"
TINY = EMBEDDED / "tiny.safetensors"


def info(*words: object) -> Result:
    return CliRunner().invoke(main, ["info", *map(str, words)], env={"COLUMNS": "300"})


def lines(*words: object) -> list[str]:
    result = info(*words)
    assert (result.exit_code, result.stderr) == (0, "")
    return [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]


def test_a_preset_without_weights_says_what_it_is_costs_and_needs():
    shown = lines("base")
    values = {line.split()[0]: line.partition(" ")[2] for line in shown}
    assert shown[0].startswith("base ")
    assert numbers_in(values["Network"]) == ["48", "96", "192", "384", "2", "3", "3", "4", "1", "2", "4", "8"]
    assert numbers_in(values["Retention"]) == ["0.7", "0.5", "0.9"]
    assert re.fullmatch(rf"{CONVNEXT_TINY}\b.*\bconvnext_tiny\.fb_in1k\b.*", values["Prior"])
    assert values["Text"] == "ViT-B-32-quickgelu/openai (open_clip), T = 512"
    assert "TCPM" in values["Guidance"]
    assert values["Not"].endswith(" stem_stride = 2, residual = True, skip_unperturbed = True")
    assert numbers_in(values["Parameters"]) == ["57.0", "29.2"]
    assert values["480x640"].startswith("282 ")
    assert values["1024x1280"].startswith("1,171 ")


def test_a_checkpoint_shows_its_card():
    shown = lines(TINY)
    assert shown == lines("tiny")
    provenance = parse_checkpoint(TINY.read_bytes(), "tiny").provenance
    assert f"Data {provenance.data}" in shown
    assert f"Licence {provenance.licence}" in shown
    assert "Digest " + parse_checkpoint(TINY.read_bytes(), "tiny").digest in shown
    name, values = next(iter(provenance.metrics.items()))
    assert f"{name} " + " ".join(f"{value:.3f}" for value in values.values()) in shown
    assert f"ct_mri {PROMPTS['ct_mri']}" in shown


def test_json_says_the_same_to_machines():
    told = json.loads(info("tiny", "--json").stdout)
    checkpoint = parse_checkpoint(TINY.read_bytes(), "tiny")
    assert told["digest"] == checkpoint.digest
    assert told["config"] == json.loads(json.dumps(asdict(PRESETS["tiny"])))
    assert told["prompts"] == PROMPTS
    # All but the reader of texts, which learns apart.
    reader = sum(tensor.numel() for name, tensor in checkpoint.weights.items() if name.startswith("reader."))
    total = sum(tensor.numel() for tensor in checkpoint.weights.values())
    assert told["parameters"] == {"total": total, "trainable": total - reader}
    assert [(cost["height"], cost["width"]) for cost in told["costs"]] == [(480, 640), (1024, 1280)]
    assert told["provenance"] == json.loads(json.dumps(asdict(checkpoint.provenance)))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-1], "truncated"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "changed"),
        (lambda _: b"GIF89a" + bytes(90), "not "),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, damage, reason):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(damage(TINY.read_bytes()))
    result = info(path)
    assert result.exit_code == 2
    assert re.search(rf"{path}\b.*{reason}", result.stderr)


def test_an_unknown_model_is_refused():
    result = info("huge")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.search(r"'huge'.*\(nano, tiny\)", result.stderr)
