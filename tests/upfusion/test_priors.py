import logging
import time
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from timm.models.convnext import ConvNeXt as TimmConvNeXt
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.convnext import ConvNeXt as TorchvisionConvNeXt

from upfusion.convnext import ConvNeXt
from upfusion.network import UPFusion
from upfusion.presets import PRESETS
from upfusion.priors import PriorUnavailableError, load_convnext, model_hub
from upfusion.scpm import SemanticChannelPruning

from .small_priors import (
    CONVNEXT,
    DEPTHS,
    NO_HUB,
    WIDTHS,
    Trap,
    cut_off_from_hub,
    in_authors_names,
    in_pickle,
    make_convnext,
    put_in_cache,
)


@pytest.fixture
def prior() -> ConvNeXt:
    return SemanticChannelPruning(8, 2, 0.7, 32, DEPTHS, WIDTHS).prior


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The cache of a model hub that cannot be reached."""
    cut_off_from_hub(monkeypatch, tmp_path / "cache")
    return tmp_path / "cache"


# Files


def test_a_safetensors_file_with_a_classifier_fills_the_prior(prior: ConvNeXt, tmp_path: Path) -> None:
    save_file(make_convnext(), tmp_path / "convnext.safetensors")
    load_convnext(prior, CONVNEXT, tmp_path / "convnext.safetensors")
    _assert_filled(prior, make_convnext())


def test_a_file_without_a_classifier_fills_the_prior(prior: ConvNeXt, tmp_path: Path) -> None:
    headless = {name: tensor for name, tensor in make_convnext().items() if not name.startswith("head.")}
    save_file(headless, tmp_path / "convnext.safetensors")
    load_convnext(prior, CONVNEXT, str(tmp_path / "convnext.safetensors"))
    _assert_filled(prior, make_convnext())


def test_a_pickle_fills_the_prior(prior: ConvNeXt, tmp_path: Path) -> None:
    (tmp_path / "convnext.pth").write_bytes(in_pickle(make_convnext()))
    load_convnext(prior, CONVNEXT, tmp_path / "convnext.pth")
    _assert_filled(prior, make_convnext())


def test_the_file_of_the_convnext_authors_fills_the_prior(prior: ConvNeXt, tmp_path: Path) -> None:
    theirs = in_authors_names(make_convnext())
    assert {"downsample_layers.0.0.weight", "stages.2.1.pwconv1.weight", "norm.bias", "head.bias"} < set(theirs)
    (tmp_path / "convnext.pth").write_bytes(in_pickle({"model": theirs}))
    load_convnext(prior, CONVNEXT, tmp_path / "convnext.pth")
    _assert_filled(prior, make_convnext())


def test_the_file_of_torchvision_fills_the_prior(prior: ConvNeXt, tmp_path: Path) -> None:
    following = [*WIDTHS[1:], None]
    stages = [CNBlockConfig(*numbers) for numbers in zip(WIDTHS, following, DEPTHS, strict=True)]
    torch.manual_seed(0)
    theirs = TorchvisionConvNeXt(stages, layer_scale=0.5, num_classes=5).eval()
    save_file(theirs.state_dict(), tmp_path / "convnext.safetensors")
    load_convnext(prior, CONVNEXT, tmp_path / "convnext.safetensors")
    view = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(prior.eval()(view), theirs.features(view))


def test_another_width_is_refused_by_file_and_weight(tmp_path: Path) -> None:
    narrower = SemanticChannelPruning(8, 2, 0.7, 32, DEPTHS, (4, *WIDTHS[1:])).prior
    save_file(make_convnext(), tmp_path / "convnext.safetensors")
    with pytest.raises(ValueError, match=r"convnext\.safetensors(?s:.*)stem\.0\."):
        load_convnext(narrower, CONVNEXT, tmp_path / "convnext.safetensors")


@pytest.mark.parametrize("depths", [(1, 1, 1, 1), (1, 1, 2, 2)], ids=["shallower", "deeper"])
def test_another_depth_is_refused_by_file(depths: tuple[int, ...], tmp_path: Path) -> None:
    other = SemanticChannelPruning(8, 2, 0.7, 32, depths, WIDTHS).prior
    save_file(make_convnext(), tmp_path / "convnext.safetensors")
    with pytest.raises(ValueError, match=r"convnext\.safetensors.*ConvNeXt"):
        load_convnext(other, CONVNEXT, tmp_path / "convnext.safetensors")


@pytest.mark.parametrize(("depths", "widths"), [((1, 1, 1, 1), WIDTHS), (DEPTHS, (4, *WIDTHS[1:]))])
def test_another_size_in_the_authors_names_is_refused_by_file(
    depths: tuple[int, ...], widths: tuple[int, ...], tmp_path: Path
) -> None:
    other = SemanticChannelPruning(8, 2, 0.7, 32, depths, widths).prior
    (tmp_path / "convnext.pth").write_bytes(in_pickle({"model": in_authors_names(make_convnext())}))
    with pytest.raises(ValueError, match=r"convnext\.pth.*ConvNeXt"):
        load_convnext(other, CONVNEXT, tmp_path / "convnext.pth")


@pytest.mark.parametrize(
    "content", [{"model": "resnet"}, {"epoch": 3}, {"state_dict": {}}, {"fc.weight": torch.ones(2, 2)}]
)
def test_a_file_of_something_else_is_refused_by_name(prior: ConvNeXt, content: object, tmp_path: Path) -> None:
    (tmp_path / "other.pth").write_bytes(in_pickle(content))
    with pytest.raises(ValueError, match=r"other\.pth.*ConvNeXt"):
        load_convnext(prior, CONVNEXT, tmp_path / "other.pth")


def test_code_in_a_pickle_is_refused_and_not_run(prior: ConvNeXt, tmp_path: Path) -> None:
    (tmp_path / "convnext.pth").write_bytes(in_pickle({**make_convnext(), "more": Trap(tmp_path / "it-ran")}))
    with pytest.raises(ValueError, match=r"convnext\.pth.*tensors"):
        load_convnext(prior, CONVNEXT, tmp_path / "convnext.pth")
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("name", ["nowhere.pth", "."])
def test_where_no_file_lies_is_named(prior: ConvNeXt, name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / name)):
        load_convnext(prior, CONVNEXT, tmp_path / name)


# The model hub


def test_a_cache_that_was_copied_here_serves_without_the_hub(prior: ConvNeXt, cache: Path) -> None:
    put_in_cache(cache, f"timm/{CONVNEXT}", "model.safetensors", make_convnext())
    load_convnext(prior, CONVNEXT)
    _assert_filled(prior, make_convnext())


def test_without_hub_and_cache_the_ways_out_are_named(prior: ConvNeXt, cache: Path) -> None:
    before = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
    began = time.monotonic()
    with pytest.raises(PriorUnavailableError) as caught:
        load_convnext(prior, "convnext_base.fb_in1k")
    assert time.monotonic() - began < 10
    message = str(caught.value)
    assert "convnext_base.fb_in1k" in message
    assert NO_HUB in message
    assert str(cache) in message
    for way in ("HF_HUB_CACHE", "--weights", "tiny"):
        assert way in message
    assert caught.value.__cause__ is not None
    _assert_filled(prior, before)


def test_a_hub_that_is_not_reached_counts_as_offline_for_a_while(cache: Path) -> None:  # noqa: ARG001
    with model_hub():
        assert constants.HF_HUB_OFFLINE
        assert not logging.getLogger("root").isEnabledFor(logging.CRITICAL)
    assert not constants.HF_HUB_OFFLINE
    assert logging.getLogger("root").isEnabledFor(logging.CRITICAL)


def test_hub_and_log_are_as_before_after_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setattr(logging.root.manager, "disable", logging.INFO)
    with pytest.raises(KeyError), model_hub():
        raise KeyError
    assert not constants.HF_HUB_OFFLINE
    assert logging.root.manager.disable == logging.INFO


def test_who_asked_to_stay_offline_stays_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with model_hub():
        assert constants.HF_HUB_OFFLINE
    assert constants.HF_HUB_OFFLINE


# Presets


@pytest.mark.parametrize("preset", [name for name, config in PRESETS.items() if config.prior])
def test_the_named_convnext_computes_what_the_prior_computes(preset: str) -> None:
    # Weights of a ConvNeXt with another activation or another epsilon would fit into the prior all the same.
    config = PRESETS[preset]
    torch.manual_seed(0)
    named = timm.create_model(str(config.prior), num_classes=0).eval()
    for name, parameter in named.named_parameters():
        if name.endswith("gamma"):  # else what blocks compute does not show
            nn.init.uniform_(parameter, 0.2, 0.5)
    with torch.device("meta"):
        prior = UPFusion(config).scpm.prior.to_empty(device="cpu")
    prior.load_state_dict({name: tensor for name, tensor in named.state_dict().items() if not name.startswith("head.")})
    view = torch.randn(2, 3, 67, 96)
    with torch.inference_mode():
        torch.testing.assert_close(prior(view), named.forward_features(view))


def test_a_prior_starts_as_timm_starts_one() -> None:
    torch.manual_seed(0)
    ours, theirs = UPFusion(PRESETS["tiny"]).scpm.prior, TimmConvNeXt(depths=DEPTHS, dims=WIDTHS)
    for part in ("stem.0", "stages.0.blocks.0.mlp.fc1", "stages.0.blocks.0.norm"):
        assert ours.get_submodule(part).bias.abs().sum() == theirs.get_submodule(part).bias.abs().sum() == 0
    spread = [model.get_submodule("stages.3.blocks.0.mlp.fc1").weight.std().item() for model in (ours, theirs)]
    assert spread == pytest.approx([0.02, 0.02], rel=0.1)
    assert torch.equal(ours.stages[1].blocks[0].gamma.unique(), theirs.stages[1].blocks[0].gamma.unique())


def _assert_filled(prior: ConvNeXt, weights: dict[str, Tensor]) -> None:
    state = prior.state_dict()
    assert set(state) == {name for name in weights if not name.startswith("head.")}
    for name, tensor in state.items():
        assert torch.equal(tensor, weights[name]), name
