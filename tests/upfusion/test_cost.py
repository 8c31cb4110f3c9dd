from dataclasses import replace

import pytest
import torch
from torch import nn

from upfusion import cost
from upfusion.cost import _LiveBytes, cost_of_pass, count_parameters
from upfusion.presets import PRESETS


def test_the_paper_costs_a_little_less_than_the_authors_network() -> None:
    # Counted on their released network; ours computes attention and the projection behind it as one matrix.
    authors = 2070e9
    assert 0.95 * authors < cost_of_pass(PRESETS["paper"], 480, 640).flops < authors


def test_tiny_and_nano_cost_less_than_emma() -> None:
    # EMMA (CVPR 2024), one of the lightest published networks, takes 81 GFLOP.
    assert cost_of_pass(PRESETS["tiny"], 480, 640).flops < 4e9
    assert cost_of_pass(PRESETS["nano"], 480, 640).flops < 1.5e9


def test_base_lies_between() -> None:
    base = cost_of_pass(PRESETS["base"], 480, 640).flops
    assert 20 * cost_of_pass(PRESETS["tiny"], 480, 640).flops < base < 2070e9 / 5


def test_parameters_of_a_frozen_prior_are_not_trainable() -> None:
    tiny = replace(PRESETS["tiny"], text_gate=False)  # with it comes a reader that is frozen too
    trained, frozen = count_parameters(tiny), count_parameters(replace(tiny, prior_trained=False))
    assert trained.total == trained.trainable == frozen.total
    assert 0 < frozen.trainable < frozen.total


def test_memory_grows_with_the_pixels_and_holds_the_weights() -> None:
    tiny = PRESETS["tiny"]
    weights = 4 * count_parameters(tiny).total
    small, large = (cost_of_pass(tiny, side, side).memory - weights for side in (256, 512))
    assert small > 256 * 256 * 4
    # SCPM's view has one size whatever the image's.
    assert large == pytest.approx(4 * small, rel=0.05)


def test_the_most_bytes_alive_together_are_counted() -> None:
    with torch.device("meta"), _LiveBytes() as live:
        x = torch.empty(1000)  # 4000 bytes
        y = x + 1
        view = y[:500]
        del y
        view = view * 2  # 2000 more while the first 8000 live
        del x
        torch.empty(100)
    assert live.most == 10000
    assert live.now == 2000 == view.untyped_storage().nbytes()


def test_flops_are_two_a_multiply_add(monkeypatch: pytest.MonkeyPatch) -> None:
    class OneProduct(nn.Module):
        def __init__(self, _: object) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(30, 20))

        def forward(self, a: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            return a[0, 0] @ self.weight

    monkeypatch.setattr(cost, "UPFusion", OneProduct)
    assert cost_of_pass(PRESETS["tiny"], 10, 30).flops == 2 * 10 * 30 * 20
