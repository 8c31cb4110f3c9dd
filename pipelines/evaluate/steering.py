"""Judging whether a sentence moves a result in the direction that it asks for, and how far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pipelines.evaluate.response import Crop, Setting, measure_response
from upfusion.model import FusionModel
from upfusion.wishes import Wish

DIRECTIONS: Mapping[str, tuple[str, int]] = {
    "more_a": ("share_of_b", -1),
    "more_b": ("share_of_b", 1),
    "hot": ("hot", 1),
    "dark": ("dark", 1),
    "quiet": ("grain", -1),
}
"""What each direction is to move, and which way."""

UNRELATED = "unrelated"
"""The direction of sentences that ask for nothing."""

SMALLEST_WISHES: Mapping[str, Wish] = {
    "more_a": Wish(balance=-0.3),
    "more_b": Wish(balance=0.3),
    "hot": Wish(hot=0.5),
    "dark": Wish(dark=0.5),
    "quiet": Wish(quiet=0.5),
}
"""The smallest step that a sentence can ask for in each direction: "a bit more of"."""

LEAST_STEP: Mapping[str, float] = {"more_a": 0.01, "more_b": 0.01, "hot": 0.1, "dark": 0.1, "quiet": 0.02}
"""A model whose smallest step moves less, in share or in grey levels, cannot be asked for that direction."""

NOTHING = 0.25
"""A move of less than this share of the smallest step is none."""


@dataclass(frozen=True)
class Answer:
    """What a sentence moved, in the mean over pairs."""

    direction: str
    text: str
    moves: Mapping[str, float]
    """By direction, in units of the smallest step: positive is the way of that step."""

    @property
    def right(self) -> bool:
        """Whether the result moves the way that was asked for, or of an unrelated sentence not at all."""
        if self.direction == UNRELATED:
            return all(abs(move) < NOTHING for move in self.moves.values())
        return self.moves[self.direction] > 0

    @property
    def clear(self) -> bool:
        """Whether it does so by more than what counts as nothing."""
        return self.right and (self.direction == UNRELATED or self.moves[self.direction] >= NOTHING)


def measure_steps(model: FusionModel, crops: Sequence[Crop], base: Mapping[str, Tensor]) -> dict[str, float]:
    """Return how far the smallest wish in each direction moves what it is to move, in the mean, signed."""
    steps = {}
    for direction, wish in SMALLEST_WISHES.items():
        measure, _ = DIRECTIONS[direction]
        steps[direction] = mean_move(measure, base, measure_response(model, crops, Setting(wish=wish)))
    return steps


def judge_answer(
    direction: str, text: str, base: Mapping[str, Tensor], moved: Mapping[str, Tensor], steps: Mapping[str, float]
) -> Answer:
    """Judge a sentence by what it moves; a direction in which the model takes no step (LEAST_STEP) is not moved.

    Raises ValueError for a direction that is neither one of DIRECTIONS nor UNRELATED.
    """
    if direction not in DIRECTIONS and direction != UNRELATED:
        raise ValueError(f"unknown direction {direction!r}; known ones: {', '.join(DIRECTIONS)}, {UNRELATED}")
    moves = {}
    for name, (measure, sign) in DIRECTIONS.items():
        step = sign * steps[name]
        moves[name] = sign * mean_move(measure, base, moved) / step if step > LEAST_STEP[name] else 0.0
    return Answer(direction, text, moves)


def mean_move(measure: str, base: Mapping[str, Tensor], moved: Mapping[str, Tensor]) -> float:
    """Return the mean over pairs of the change of a measure."""
    return float((moved[measure] - base[measure]).nanmean())
