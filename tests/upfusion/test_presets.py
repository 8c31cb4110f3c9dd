import json
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import nn

from upfusion.network import UPFusion
from upfusion.presets import PRESETS, NetworkConfig


def test_the_paper_has_no_departure() -> None:
    paper = PRESETS["paper"]
    assert (paper.channels, paper.blocks, paper.heads) == (48, (4, 6, 6, 8), (1, 2, 4, 8))
    assert (paper.text_dim, paper.text_hidden, paper.stem_stride) == (512, None, 1)
    assert paper.widths is None
    departures = ("residual", "skip_unperturbed", "skip_perturbed", "prior_trained", "dense", "gains", "stem_energy")
    assert not any(getattr(paper, name) for name in (*departures, "embedding_skip", "text_gate"))


def test_the_paper_has_its_number_of_parameters() -> None:
    network = _network("paper")
    # The authors' 154.8 million include a third encoder, of the ground truth, which nothing uses.
    assert round((_count(network) + _count(network.encoder_a)) / 1e6, 1) == 154.8
    assert round(_count(network.scpm.prior) / 1e6, 1) == 87.6
    assert not any(parameter.requires_grad for parameter in network.scpm.prior.parameters())


def test_tiny_is_tiny() -> None:
    assert _count(_network("tiny")) < 1.5e6


@pytest.mark.parametrize(("stride", "multiple"), [(1, 8), (2, 16)])
def test_size_multiple(stride: int, multiple: int) -> None:
    assert NetworkConfig(stem_stride=stride).size_multiple == multiple


@pytest.mark.parametrize("name", PRESETS)
def test_survives_json(name: str) -> None:
    assert NetworkConfig.from_dict(json.loads(json.dumps(asdict(PRESETS[name])))) == PRESETS[name]


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ValueError, match="from_the_future"):
        NetworkConfig.from_dict({"channels": 8, "from_the_future": True})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("heads", (1, 2, 4, 7)),
        ("channels", 7),
        ("scpm_retention", 0.0),
        ("scpm_retention", 1.1),
        ("tcpm_retention", -0.5),
        ("attention_retention", 2.0),
        ("prior_depths", (1, 1, 1)),
        ("heads", (1, 1, 1)),
        ("widths", (48, 96)),
        ("widths", (24, 96, 192, 384)),
        ("stem_energy", True),
        ("prior_widths", (8, 16, 32, 64, 128)),
    ],
)
def test_a_value_that_cannot_work_is_named(field: str, value: Any) -> None:
    # One head a level, because an odd number of channels fails by the heads otherwise.
    with pytest.raises(ValueError, match=f"{field}.*: expected"):
        NetworkConfig(**{"heads": (1, 1, 1, 1), field: value})


def _network(preset: str) -> UPFusion:
    with torch.device("meta"):
        return UPFusion(PRESETS[preset])


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
