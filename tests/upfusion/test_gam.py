import torch
import torch.nn.functional as F
from torch import nn

from upfusion.gam import GeometricAffineModulation


def test_features_are_scaled_and_shifted_by_what_is_special_to_the_source() -> None:
    gam = GeometricAffineModulation(4)
    shared, source = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 7, 8)
    affine = gam.to_affine(F.relu(gam.squeeze(source.mean(dim=(2, 3))[..., None, None])))
    gamma, beta = affine[:, :4], affine[:, 4:]
    torch.testing.assert_close(gam(shared, source), shared * (1 + gamma) + beta)


def test_no_modulation_leaves_the_features_alone() -> None:
    gam = GeometricAffineModulation(4)
    nn.init.zeros_(gam.to_affine.weight)
    nn.init.zeros_(gam.to_affine.bias)
    shared = torch.randn(2, 4, 5, 6)
    assert torch.equal(gam(shared, torch.randn(2, 4, 5, 6)), shared)


def test_only_the_mean_of_the_source_counts() -> None:
    gam = GeometricAffineModulation(4)
    shared, source = torch.randn(2, 4, 5, 6), torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(gam(shared, source.flip(2, 3)), gam(shared, source))
    assert not torch.allclose(gam(shared, source + 1), gam(shared, source), atol=1e-3)
