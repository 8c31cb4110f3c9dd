"""The authors' checkpoint becomes ours; what it computes is compared in test_network.py."""

import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from upfusion.convert import _factor, _our_name, convert
from upfusion.network import UPFusion
from upfusion.presets import NetworkConfig

from .authors_file import read_authors, weights_of


@pytest.fixture(scope="module")
def authors() -> dict[str, Tensor]:
    """The authors' state dict at small width, under their names."""
    return weights_of(read_authors())


@pytest.mark.parametrize("key", ["AWF", None])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_any_wrapping_gives_the_same_weights(authors: dict[str, Tensor], key: str | None, prefix: str) -> None:
    state = {prefix + name: tensor for name, tensor in authors.items()}
    conversion = convert({key: state, "epoch": 3} if key else state)
    plain = convert(authors)
    assert conversion.config == plain.config
    assert all(torch.equal(conversion.weights[name], tensor) for name, tensor in plain.weights.items())


def test_the_configuration_is_read_off_the_shapes(authors: dict[str, Tensor]) -> None:
    assert convert(authors).config == NetworkConfig(
        channels=8,
        blocks=(1, 1, 1, 1),
        refinement_blocks=1,
        text_encoder=None,
        text_dim=64,
        prior=None,
        prior_depths=(1, 1, 2, 1),
        prior_widths=(8, 16, 32, 64),
    )


def test_every_weight_is_used_or_named_as_unused(authors: dict[str, Tensor]) -> None:
    conversion = convert(authors)
    assert len(conversion.weights) + len(conversion.unused) == len(authors)
    assert conversion.unused
    assert {name.split(".")[0] for name in conversion.unused} == {
        "encoder_level1_gt",
        "encoder_level2_gt",
        "encoder_level3_gt",
        "latent_gt",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": 16, "heads": (2, 2, 4, 4), "text_dim": 48},
        {"channels": 24, "heads": (1, 3, 6, 12), "expansion": 2.0, "prior_widths": (16, 24, 40, 48)},
        {"channels": 12, "heads": (1, 1, 1, 1), "expansion": 3.3, "scpm_retention": 0.9, "tcpm_retention": 0.25},
        {"channels": 48, "text_dim": 512, "text_encoder": NetworkConfig().text_encoder, "text_hidden": 40},
        {"channels": 16, "squeeze_divisor": 4},
    ],
)
def test_other_widths_and_heads_are_recognised(authors: dict[str, Tensor], changes: dict[str, object]) -> None:
    config = replace(convert(authors).config, **changes)
    with torch.device("meta"):
        ours = UPFusion(config).state_dict()
    theirs = {name: _as_authors(name, ours) for name in authors if "_gt" not in name}
    assert convert(theirs).config == config


def test_what_does_not_belong_is_listed(authors: dict[str, Tensor]) -> None:
    broken = dict(authors)
    del broken["refinement.0.attn.temperature"]
    broken["clip.logit_scale"] = torch.zeros(())
    broken["output.weight"] = torch.zeros(1, 17, 3, 3)
    with pytest.raises(ValueError, match="authors") as caught:
        convert(broken)
    unknown, missing, other_shape = str(caught.value).splitlines()[1:]
    assert unknown.split()[0] == "clip.logit_scale"
    assert missing.split()[0] == "decoder.refinement.0.attention.temperature"
    assert re.search(r"decoder\.output\.weight.*\(1, 17, 3, 3\).*\(1, 16, 3, 3\)", other_shape)


def test_a_file_without_the_first_layer_is_refused(authors: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="'embed_a"):
        convert({name: tensor for name, tensor in authors.items() if not name.startswith("patch_embed")})


@pytest.mark.parametrize("found", [{}, {"AWF": 3}, {"epoch": 3, "optimizer": {}}, {"AWF": {"lr": 0.1}}])
def test_a_file_of_something_else_is_refused(found: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="AWF"):
        convert(found)


def test_the_usual_factor_is_taken_where_it_fits_and_else_the_shortest() -> None:
    assert _factor("retention", 0.7, [(8, 5)]) == 0.7
    assert _factor("expansion", 2.66, [(8, 16), (16, 32)]) == 2.0
    assert _factor("expansion", 2.66, [(48, 129), (384, 1036)]) == 2.7
    with pytest.raises(ValueError, match=r"expansion.* 8 .*16, 16 .*48"):
        _factor("expansion", 2.66, [(8, 16), (16, 48)])


def _as_authors(name: str, ours: dict[str, Tensor]) -> Tensor:
    our_name = _our_name(name)
    assert our_name is not None
    tensor = torch.zeros(ours[our_name].shape)
    return tensor[:, None, None] if name.endswith("layer_scale") else tensor
