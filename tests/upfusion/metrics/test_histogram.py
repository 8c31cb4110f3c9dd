import torch

from upfusion.metrics.histogram import histogram, joint_histogram, levels


def test_levels_round_and_stay_within_eight_bits() -> None:
    image = torch.tensor([-3.0, 0.5, 1.5, 254.6, 300.0, float("nan")]).view(1, 1, 2, 3)
    assert levels(image).tolist() == [[0, 0, 2, 255, 255, 0]]


def test_counts_each_image_of_a_batch_on_its_own() -> None:
    x = torch.tensor([[1, 1, 2], [255, 255, 255]])
    counts = histogram(x)
    assert counts.shape == (2, 256)
    assert counts[0, 1:3].tolist() == [2, 1]
    assert counts[1].nonzero().tolist() == [[255]]


def test_joint_counts_have_the_first_image_along_the_rows() -> None:
    x = torch.tensor([[1, 1, 2], [255, 255, 255]])
    y = torch.tensor([[7, 7, 0], [0, 255, 255]])
    counts = joint_histogram(x, y)
    assert counts.shape == (2, 256, 256)
    assert counts.sum() == 6
    assert counts[0, 1, 7] == 2
    assert counts[0, 2, 0] == 1
    assert counts[1, 255, 0] == 1
    assert counts[1, 255, 255] == 2
