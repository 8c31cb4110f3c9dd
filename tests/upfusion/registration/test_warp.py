import numpy as np
import pytest

from tests.upfusion.registration.scenes import SIZE, planted, scene, seen_through
from upfusion.registration.coordinates import similarity, translation
from upfusion.registration.rig import Rig, RigError
from upfusion.registration.warp import RigWarp, largest_rectangle, rig_warp


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_whole_shift_moves_whole_pixels(depth: type) -> None:
    b = np.random.default_rng(0).integers(0, np.iinfo(depth).max, (240, 320), depth, endpoint=True)
    warp = RigWarp(Rig(SIZE, SIZE, translation(8, 16)))
    assert warp.box == (8, 16, 312, 224)
    assert (warp.b(b) == b[:224, :312]).all()
    assert warp.b(b).dtype == depth
    assert (warp.a(b) == b[16:, 8:]).all()


def test_b_lies_where_it_was() -> None:
    """A smooth image, away and back: what remains is the interpolation's error."""
    a, _ = scene(3)
    import cv2

    smooth = cv2.GaussianBlur(a, (0, 0), 3)
    truth = planted()
    warp = RigWarp(Rig(SIZE, SIZE, truth))
    left, top, width, height = warp.box
    back = warp.b(seen_through(truth, smooth)).astype(float)
    assert np.abs(back - smooth[top : top + height, left : left + width]).mean() < 0.6
    assert warp.seen.all()


def test_all_of_a_with_b_where_it_sees() -> None:
    b = np.full((240, 320, 3), 200, np.uint8)
    warp = RigWarp(Rig(SIZE, SIZE, similarity(0.5, 0, (159.5, 119.5))), "a")
    assert warp.b(b).shape == (240, 320, 3)
    assert warp.seen.mean() == pytest.approx(0.25, abs=0.01)
    assert warp.a(b).shape == b.shape


def test_colour_stays_colour() -> None:
    b = np.zeros((240, 320, 3), np.uint8)
    b[..., 1] = 90
    warped = RigWarp(Rig(SIZE, SIZE, planted())).b(b)
    assert (warped[..., 1] == 90).all()
    assert not warped[..., [0, 2]].any()


def test_fine_texture_does_not_alias_on_a_smaller_canvas() -> None:
    stripes = np.zeros((960, 1280), np.uint8)
    stripes[:, ::2] = 255
    rig = Rig(SIZE, (1280, 960), np.diag([1 / 3.3, 1 / 3.3, 1.0]))
    assert RigWarp(rig, "a").b(stripes)[20:200, 20:300].std() < 12


def test_a_correction_moves_b_on_the_canvas() -> None:
    b = scene(0)[1]
    warp = RigWarp(Rig(SIZE, SIZE, np.eye(3)))
    assert (warp.b(b, translation(5, 0))[:, 5:] == b[:, :-5]).all()


@pytest.mark.parametrize("source", ["a", "b"])
def test_another_size_is_refused(source: str) -> None:
    warp = RigWarp(Rig(SIZE, SIZE, np.eye(3)))
    with pytest.raises(RigError, match=f"{source.upper()}.*320x240.*100x50"):
        getattr(warp, source)(np.zeros((50, 100), np.uint8))


def test_a_rig_that_sees_nothing_is_refused() -> None:
    with pytest.raises(RigError, match=r"\bA\b"):
        RigWarp(Rig(SIZE, SIZE, translation(1000, 0)))
    with pytest.raises(RigError, match="--canvas a"):
        RigWarp(Rig(SIZE, SIZE, translation(310, 0)))


def test_the_largest_rectangle_is_the_best_of_all() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        blocks = rng.random((6, 7)) < 0.8
        left, top, width, height = (
            side // 8 for side in largest_rectangle(np.kron(blocks, np.ones((8, 8))).astype(bool))
        )
        assert blocks[top : top + height, left : left + width].all()
        best = max(
            (y1 - y0) * (x1 - x0)
            for y0 in range(6) for y1 in range(y0 + 1, 7) for x0 in range(7) for x1 in range(x0 + 1, 8)
            if blocks[y0:y1, x0:x1].all()
        )  # fmt: skip
        assert width * height == best


def test_a_warp_is_prepared_once() -> None:
    text = Rig(SIZE, SIZE, planted()).to_json()
    assert rig_warp(text, "a") is rig_warp(text, "a")
