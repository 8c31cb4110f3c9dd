import torch

from upfusion.dense import DenseBlock, DenseDecoder, dense_level, strided_downsample


def test_a_block_adds_to_what_came_in() -> None:
    block, x = DenseBlock(4), torch.rand(2, 4, 6, 7)
    torch.testing.assert_close(block(x), x + block.second(block.first(x).relu()))


def test_a_level_has_its_blocks() -> None:
    x = torch.rand(1, 4, 6, 7)
    assert len(dense_level(4, 3)) == 3
    assert dense_level(4, 0)(x) is x


def test_downsampling_halves_the_size() -> None:
    assert strided_downsample(4, 12)(torch.rand(2, 4, 16, 24)).shape == (2, 12, 8, 12)


def test_the_decoder_reaches_the_finest_level_from_all_others() -> None:
    decoder = DenseDecoder((4, 12, 20), (1, 2, 1), refinement_blocks=1)
    levels = [torch.rand(2, width, size, size, requires_grad=True) for width, size in ((4, 16), (12, 8), (20, 4))]
    features = decoder(levels)
    assert features.shape == (2, 4, 16, 16)
    features.sum().backward()
    for level in levels:
        assert level.grad is not None
        assert level.grad.any()
