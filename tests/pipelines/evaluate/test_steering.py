import pytest
import torch

from pipelines.evaluate.response import MEASURES, Crop, Setting, cut, measure_response
from pipelines.evaluate.steering import DIRECTIONS, UNRELATED, judge_answer, measure_steps
from upfusion.model import FusionModel, load
from upfusion.wishes import Wish


@pytest.fixture(scope="module")
def model() -> FusionModel:
    return load("tiny", "cpu")


def _crops() -> list[Crop]:
    """Noise with a bright target: without one the luma of targets would be NaN."""
    generator = torch.Generator().manual_seed(0)
    sizes = ((64, 64), (64, 72), (64, 64))
    images = [0.6 * torch.rand(2, *size, generator=generator) for size in sizes]
    for pair in images:
        pair[:, 8:14, 8:14] = 1
    return [Crop("noise", "ir_visible", str(number), *image) for number, image in enumerate(images)]


def _moved(**changes: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([1.0, 2.0]) + changes.get(name, 0.0) for name in MEASURES}


STEPS = {"more_a": -0.1, "more_b": 0.1, "hot": 2.0, "dark": 3.0, "quiet": -0.4}


def test_measures_are_in_the_order_of_crops_of_any_size(model: FusionModel) -> None:
    crops = _crops()
    together = measure_response(model, crops, Setting())
    assert set(together) == set(MEASURES)
    for row, crop in enumerate(crops):
        alone = measure_response(model, [crop], Setting())
        for name in MEASURES:
            torch.testing.assert_close(together[name][row], alone[name][0], atol=1e-2, rtol=1e-2)


def test_a_balance_and_the_wish_for_it_are_the_same(model: FusionModel) -> None:
    crops = _crops()
    by_number = measure_response(model, crops, Setting(balance=0.5))
    by_wish = measure_response(model, crops, Setting(wish=Wish(balance=0.5)))
    assert all(torch.equal(by_number[name], by_wish[name]) for name in MEASURES)
    neutral = measure_response(model, crops, Setting())
    assert (by_number["share_of_b"] > neutral["share_of_b"]).all()


def test_steps_go_the_way_they_ask_for(model: FusionModel) -> None:
    crops = _crops()
    steps = measure_steps(model, crops, measure_response(model, crops, Setting()))
    assert set(steps) == set(DIRECTIONS)
    assert steps["more_a"] < 0 < steps["more_b"]


def test_the_middle_is_cut() -> None:
    crop = Crop("s", "ir_visible", "p", torch.arange(100.0).view(10, 10), torch.zeros(10, 10))
    assert cut(crop, 2).a.tolist() == [[44, 45], [54, 55]]
    assert cut(crop, 20).a.shape == (10, 10)


@pytest.mark.parametrize(
    ("direction", "changes", "right", "clear"),
    [
        ("more_b", {"share_of_b": 0.1}, True, True),
        ("more_b", {"share_of_b": 0.01}, True, False),
        ("more_b", {"share_of_b": -0.1}, False, False),
        ("more_a", {"share_of_b": -0.1}, True, True),
        ("hot", {"hot": 1.0}, True, True),
        ("dark", {"dark": -1.0}, False, False),
        ("quiet", {"grain": -0.3}, True, True),
        ("quiet", {"grain": 0.3}, False, False),
        (UNRELATED, {"share_of_b": 0.02, "grain": 0.05}, True, True),
        (UNRELATED, {"dark": 1.0}, False, False),
    ],
)
def test_a_sentence_is_judged_by_what_it_moves(
    direction: str, changes: dict[str, float], right: bool, clear: bool
) -> None:
    answer = judge_answer(direction, "text", _moved(), _moved(**changes), STEPS)
    assert (answer.right, answer.clear) == (right, clear)


def test_what_no_wish_moves_no_sentence_can_move() -> None:
    answer = judge_answer("quiet", "text", _moved(), _moved(grain=-1.0), STEPS | {"quiet": 0.0})
    assert not answer.right


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="sideways"):
        judge_answer("sideways", "text", _moved(), _moved(), STEPS)
