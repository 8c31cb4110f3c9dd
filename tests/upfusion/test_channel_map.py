import torch
from torch import nn

from upfusion.channel_map import map_channels, multiply_channels
from upfusion.selection import keep_top_channels, sort_channels


def test_it_equals_the_function_on_every_pixel() -> None:
    torch.manual_seed(0)
    expand, join = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 3, 1)
    kept, order = torch.rand(2, 8), torch.rand(2, 8)

    def chain(x: torch.Tensor) -> torch.Tensor:
        return join(sort_channels(expand(keep_top_channels(x, kept, 0.5)), order))

    x = torch.randn(2, 8, 5, 6)
    assert chain(x).std() > 0.1
    torch.testing.assert_close(map_channels(chain, x), chain(x), atol=1e-6, rtol=0)


def test_gradients_flow_to_the_features_the_weights_and_what_selects() -> None:
    torch.manual_seed(0)
    expand, x = nn.Conv2d(4, 8, 1), torch.randn(2, 8, 5, 6, requires_grad=True)
    kept = torch.rand(2, 8, requires_grad=True)
    slope = torch.rand(2, 8, 5, 6)
    wanted = [x, kept, expand.weight, expand.bias]
    mapped = map_channels(lambda y: expand(keep_top_channels(y, kept, 0.5)), x)
    grads = torch.autograd.grad((mapped * slope).sum(), wanted)
    expected = torch.autograd.grad((expand(keep_top_channels(x, kept, 0.5)) * slope).sum(), wanted)
    for folded, plain in zip(grads, expected, strict=True):
        torch.testing.assert_close(folded, plain, atol=1e-5, rtol=1e-4)


def test_the_matrix_is_made_in_full_precision_and_applied_in_that_of_the_features() -> None:
    scale = torch.tensor(1 + 2**-12)
    x = torch.ones(1, 2, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        mapped = map_channels(lambda y: (scale * y - y) * 2**12, x.bfloat16())
    assert mapped.dtype == torch.bfloat16
    assert mapped.flatten().tolist() == [1, 1]


def test_the_layout_of_the_features_is_kept_and_changes_nothing() -> None:
    matrix, bias = torch.randn(2, 3, 4), torch.randn(2, 3, 1)
    x = torch.randn(2, 8, 5, 6)
    last = x.contiguous(memory_format=torch.channels_last)
    for given in (bias, None):
        plain = multiply_channels(matrix, x[:, :4].contiguous(), given)
        assert plain.is_contiguous()
        for half in (last[:, :4], last[:, :4].contiguous(memory_format=torch.channels_last)):
            mapped = multiply_channels(matrix, half, given)
            assert mapped.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(mapped, plain)
