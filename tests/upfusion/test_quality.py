from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import upfusion
from upfusion import metrics
from upfusion.color import luma8

A = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
B = np.random.default_rng(1).integers(0, 256, (40, 56)).astype(np.uint8)
FUSED = (A // 2 + B[..., None] // 2).astype(np.uint8)


def test_paths_images_and_tensors_are_measured_as_jobs_measure_lumas(tmp_path: Path) -> None:
    Image.fromarray(A).save(tmp_path / "a.png")
    found = upfusion.measure(tmp_path / "a.png", Image.fromarray(B), torch.from_numpy(FUSED).permute(2, 0, 1))
    lumas = [torch.from_numpy(luma8(pixels))[None, None] for pixels in (A, B, FUSED)]
    assert found == {name: values[0] for name, values in metrics.measure(*lumas, metrics.DEFAULT_METRICS).items()}
    assert metrics.ssim_balanced(*lumas).item() == pytest.approx(found["ssim_balanced"])


def test_a_metric_without_meaning_is_none() -> None:
    assert upfusion.measure(A, np.full_like(B, 7), FUSED, metrics=["ssim"]) == {"ssim": None}


def test_images_of_different_sizes_are_refused_with_their_sizes() -> None:
    with pytest.raises(ValueError, match=r"\bA\b.*56x40.*\bB\b.*56x40.*50x40"):
        upfusion.measure(A, B, FUSED[:, :50])
