"""Where two of Pillow, OpenCV and tifffile read a file, they and we read the same pixels, or the file is refused."""

import pytest

from tests.decoder_agreement import compare


@pytest.mark.parametrize("seed", range(2))
def test_decoders_agree_or_the_file_is_refused(seed: int) -> None:
    found = compare(150, seed)
    assert not found.disagreements
    assert found.agreed > 40
    assert found.refused > 20


def test_a_decoder_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of separate planes, as with OpenCV alone, the comparison fails."""
    from upfusion.tiff_header import TiffHeader

    monkeypatch.setattr(TiffHeader, "orientation", 1)
    assert compare(300, 0).disagreements
