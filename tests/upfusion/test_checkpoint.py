import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from upfusion.checkpoint import (
    EMBEDDED,
    FORMAT_VERSION,
    Checkpoint,
    Prompt,
    Provenance,
    _digest,
    locate_checkpoint,
    parse_checkpoint,
)
from upfusion.network import UPFusion
from upfusion.presets import NetworkConfig

CONFIG = NetworkConfig(
    channels=8,
    blocks=(1, 1, 1, 1),
    refinement_blocks=1,
    text_dim=16,
    prior_size=32,
    prior_depths=(1, 1, 1, 1),
    prior_widths=(8, 8, 8, 8),
)
PROVENANCE = Provenance(
    data="LLVIP",
    epochs=2.5,
    git_commit="abc",
    metrics={"LLVIP": {"vif": 0.5}},
    licence="Apache-2.0",
    training={"seed": 3},
    notes=("one", "two"),
)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(
        name="mine",
        config=CONFIG,
        weights=UPFusion(CONFIG).state_dict(),
        prompts={
            "general": Prompt("Keep everything.", torch.rand(16)),
            "ct_mri": Prompt("Keep the bone.", torch.rand(16)),
        },
        provenance=PROVENANCE,
    )


def test_survives_a_file(checkpoint: Checkpoint) -> None:
    read = parse_checkpoint(checkpoint.to_bytes(), "mine.safetensors")
    assert (read.name, read.config, read.provenance) == ("mine", CONFIG, PROVENANCE)
    assert list(read.prompts) == ["general", "ct_mri"]
    assert read.prompts["ct_mri"].text == "Keep the bone."
    assert torch.equal(read.prompts["ct_mri"].embedding, checkpoint.prompts["ct_mri"].embedding)
    assert set(read.weights) == set(checkpoint.weights)
    assert all(torch.equal(read.weights[name], tensor) for name, tensor in checkpoint.weights.items())


def test_the_same_content_gives_the_same_bytes_and_digest(checkpoint: Checkpoint) -> None:
    data = checkpoint.to_bytes()
    read = parse_checkpoint(data, "mine")
    assert read.to_bytes() == data
    assert read.digest == checkpoint.digest


def test_any_difference_changes_the_digest(checkpoint: Checkpoint) -> None:
    nudged = {name: tensor.clone() for name, tensor in checkpoint.weights.items()}
    nudged["scpm.alpha"] += 1e-6
    reworded = checkpoint.prompts | {"general": Prompt("Keep all.", checkpoint.prompts["general"].embedding)}
    others = [
        replace(checkpoint, weights=nudged),
        replace(checkpoint, prompts=reworded),
        replace(checkpoint, config=replace(CONFIG, residual=True)),
        replace(checkpoint, provenance=replace(PROVENANCE, licence="none")),
    ]
    assert len({checkpoint.digest, *(other.digest for other in others)}) == 5


def test_the_network_has_the_weights_and_is_ready_to_use(checkpoint: Checkpoint) -> None:
    network = parse_checkpoint(checkpoint.to_bytes(), "mine").build_network()
    assert not network.training
    assert all(torch.equal(tensor, checkpoint.weights[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.device.type == "cpu" for parameter in network.parameters())
    assert not network.scpm.prior.stem[0].weight.requires_grad
    assert network.expand.weight.requires_grad
    plain = UPFusion(CONFIG)
    plain.load_state_dict(checkpoint.weights)
    inputs = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8), torch.rand(1, 16)
    with torch.no_grad():
        assert torch.equal(network(*inputs), plain(*inputs))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("nothing left", "not .*checkpoint"),
        ("other bytes", "not .*checkpoint"),
        ("the header cut", "truncated.* 1000 "),
        ("the end cut", "truncated"),
        ("one bit flipped", "changed"),
        ("one word of the card", "changed"),
    ],
)
def test_damaged_bytes_are_refused_by_name(checkpoint: Checkpoint, damage: str, reason: str) -> None:
    data = checkpoint.to_bytes()
    damaged = {
        "nothing left": b"",
        "other bytes": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "the header cut": data[:1000],
        "the end cut": data[:-1],
        "one bit flipped": data[:-1] + bytes([data[-1] ^ 1]),
        "one word of the card": data.replace(b"Apache-2.0", b"Apache-9.0"),
    }[damage]
    with pytest.raises(ValueError, match=rf"s3://models/mine\.safetensors.*{reason}"):
        parse_checkpoint(damaged, "s3://models/mine.safetensors")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"upfusion": "no JSON"}])
def test_another_safetensors_file_is_refused_by_name(metadata: dict[str, str] | None) -> None:
    with pytest.raises(ValueError, match=r"other.*checkpoint"):
        parse_checkpoint(save({"weights.expand.bias": torch.zeros(1)}, metadata), "other")


@pytest.mark.parametrize(
    "header",
    [
        b'{"__metadata__": {"upfusion": ' + b"[" * 100_000,
        b'{"__metadata__": {"upfusion": "' + b"[" * 100_000 + b'"}}',
        b'{"__metadata__": {"upfusion": {"format_version": 2}}}',
        b'{"__metadata__": {"upfusion": "' + b"9" * 5000 + b'"}}',
        b'{"__metadata__": [1]}',
    ],
    ids=["deep", "deep inside", "no text", "a long number", "a list"],
)
def test_a_header_that_was_made_to_do_harm_is_refused_by_name(header: bytes) -> None:
    with pytest.raises(ValueError, match=r"mine.*checkpoint"):
        parse_checkpoint(len(header).to_bytes(8, "little") + header, "mine")


@pytest.mark.parametrize("size", [1 << 40, (1 << 64) - 1])
def test_a_header_that_claims_to_be_huge_takes_no_memory(size: int) -> None:
    with pytest.raises(ValueError, match=r"mine.*truncated.* 10 "):
        parse_checkpoint(size.to_bytes(8, "little") + b"{}", "mine")


def test_another_format_is_refused_with_both_versions(checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match=rf"mine.* 99\b.*\b{FORMAT_VERSION}\b"):
        parse_checkpoint(_with_header(checkpoint, format_version=99), "mine")


def test_a_configuration_of_a_later_version_is_refused(checkpoint: Checkpoint) -> None:
    config = asdict(CONFIG) | {"from_the_future": True}
    with pytest.raises(ValueError, match="from_the_future"):
        parse_checkpoint(_with_header(checkpoint, config=config), "mine")


def test_what_a_later_version_says_of_the_provenance_is_left_out(checkpoint: Checkpoint, tmp_path: Path) -> None:
    data = _with_header(checkpoint, provenance=asdict(PROVENANCE) | {"mood": "good"})
    read = parse_checkpoint(data, "mine")
    assert read.provenance == PROVENANCE
    assert read.digest != checkpoint.digest
    read.save(tmp_path / "mine.safetensors")
    assert Checkpoint.load(tmp_path / "mine.safetensors").digest == checkpoint.digest


def test_a_configuration_of_an_earlier_version_is_read_and_written_as_of_this_one(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    earlier = asdict(CONFIG)
    del earlier["text_gate"]  # at its default in CONFIG
    read = parse_checkpoint(_with_header(checkpoint, config=earlier), "mine")
    assert read.config == CONFIG
    read.save(tmp_path / "mine.safetensors")
    assert Checkpoint.load(tmp_path / "mine.safetensors").config == CONFIG
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]


def test_weights_of_another_configuration_are_refused_with_what_differs(checkpoint: Checkpoint) -> None:
    wider = parse_checkpoint(_with_header(checkpoint, config=asdict(replace(CONFIG, channels=16))), "mine")
    with pytest.raises(ValueError, match=r"embed_a\.project\.weight.*\(8, 1, 3, 3\).*\(16, 1, 3, 3\)"):
        wider.build_network()
    fewer = {name: tensor for name, tensor in checkpoint.weights.items() if name != "scpm.alpha"}
    with pytest.raises(ValueError, match=r"scpm\.alpha.*stray"):
        replace(checkpoint, weights=fewer | {"stray": torch.zeros(1)}).build_network()


def test_a_preset_that_ships_is_located() -> None:
    assert locate_checkpoint("tiny") == str(EMBEDDED / "tiny.safetensors")
    assert Path(locate_checkpoint("tiny")).is_file()


@pytest.mark.parametrize("model", ["paper", "s3://models/mine.safetensors", "/models/mine.safetensors", ""])
def test_anything_else_is_left_as_it_is(model: str) -> None:
    assert locate_checkpoint(model) == model


def _with_header(checkpoint: Checkpoint, **changes: Any) -> bytes:
    """Write a checkpoint whose header says something else, with the digest of that."""
    header = checkpoint._header() | changes
    header["digest"] = _digest(header, checkpoint._tensors())
    return save(checkpoint._tensors(), {"upfusion": json.dumps(header)})
