import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from upfusion.checkpoint import EMBEDDED, FORMAT_VERSION, Checkpoint, locate_checkpoint, parse_checkpoint
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


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(
        name="mine",
        config=CONFIG,
        weights=UPFusion(CONFIG).state_dict(),
        prompts={"general": torch.rand(16), "ir_visible": torch.rand(16)},
        text_encoder="an-encoder",
        card={"trained_on": "LLVIP", "steps": 3},
    )


def test_survives_a_file(checkpoint: Checkpoint) -> None:
    data = checkpoint.to_bytes()
    read = parse_checkpoint(data, "mine.safetensors")
    assert (read.name, read.config, read.text_encoder) == ("mine", CONFIG, "an-encoder")
    assert read.card == {"trained_on": "LLVIP", "steps": 3}
    for name in ("weights", "prompts"):
        written, back = getattr(checkpoint, name), getattr(read, name)
        assert set(written) == set(back)
        assert all(torch.equal(back[key], tensor) for key, tensor in written.items())


def test_the_digest_is_that_of_the_file(checkpoint: Checkpoint) -> None:
    data = checkpoint.to_bytes()
    assert parse_checkpoint(data, "mine").digest == hashlib.sha256(data).hexdigest()


def test_the_same_content_gives_the_same_bytes(checkpoint: Checkpoint) -> None:
    data = checkpoint.to_bytes()
    assert parse_checkpoint(data, "mine").to_bytes() == data
    reordered = dict(reversed(checkpoint.card.items()))
    assert replace(checkpoint, card=reordered).to_bytes() == data
    assert replace(checkpoint, card={}).to_bytes() != data


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


@pytest.mark.parametrize("damage", ["nothing left", "the header cut", "the end cut", "other bytes"])
def test_damaged_bytes_are_refused_by_name(checkpoint: Checkpoint, damage: str) -> None:
    data = checkpoint.to_bytes()
    damaged = {
        "nothing left": b"",
        "the header cut": data[:1000],
        "the end cut": data[:-1],
        "other bytes": b"\x89PNG\r\n\x1a\n" + bytes(100),
    }[damage]
    with pytest.raises(ValueError, match=r"s3://models/mine\.safetensors is not an upfusion checkpoint"):
        parse_checkpoint(damaged, "s3://models/mine.safetensors")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"upfusion": "no JSON"}])
def test_another_safetensors_file_is_refused_by_name(metadata: dict[str, str] | None) -> None:
    with pytest.raises(ValueError, match="other is not an upfusion checkpoint"):
        parse_checkpoint(save({"weights.expand.bias": torch.zeros(1)}, metadata), "other")


def test_another_format_is_refused_with_both_versions(checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match=rf"mine has checkpoint format 99; this version reads {FORMAT_VERSION}"):
        parse_checkpoint(_with_header(checkpoint, format_version=99), "mine")


def test_a_configuration_of_a_later_version_is_refused(checkpoint: Checkpoint) -> None:
    config = asdict(CONFIG) | {"from_the_future": True}
    with pytest.raises(ValueError, match="from_the_future"):
        parse_checkpoint(_with_header(checkpoint, config=config), "mine")


def test_weights_of_another_configuration_are_refused(checkpoint: Checkpoint) -> None:
    wider = parse_checkpoint(_with_header(checkpoint, config=asdict(replace(CONFIG, channels=16))), "mine")
    with pytest.raises(RuntimeError, match="size mismatch"):
        wider.build_network()


def test_a_preset_that_ships_is_located() -> None:
    assert locate_checkpoint("tiny") == str(EMBEDDED / "tiny.safetensors")
    assert Path(locate_checkpoint("tiny")).is_file()


@pytest.mark.parametrize("model", ["paper", "s3://models/mine.safetensors", "/models/mine.safetensors", ""])
def test_anything_else_is_left_as_it_is(model: str) -> None:
    assert locate_checkpoint(model) == model


def _with_header(checkpoint: Checkpoint, **changes: Any) -> bytes:
    """Write a checkpoint whose header says something else."""
    header = {
        "format_version": FORMAT_VERSION,
        "name": checkpoint.name,
        "config": asdict(checkpoint.config),
        "text_encoder": checkpoint.text_encoder,
        "card": checkpoint.card,
    }
    tensors = {f"weights.{name}": tensor for name, tensor in checkpoint.weights.items()}
    return save(tensors, {"upfusion": json.dumps(header | changes)})
