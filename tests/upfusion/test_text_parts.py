import pytest

from upfusion.prompts import PROMPTS
from upfusion.text_parts import find_mentions, parts_naming_one_source


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("less visible, more thermal", ["less visible", "more thermal"]),
        ("Turn the PET down and let the MRI lead.", ["Turn the PET down", "let the MRI lead"]),
        ("Prefer the CT over the MRI", ["Prefer the CT"]),
        ("More of the radar than of the optical image, please", ["More of the radar"]),
        ("Source B instead of source A. Thanks!", ["Source B"]),
        ("The photo covers the infrared, so give me the IR!", ["The photo covers", "give me the IR"]),
    ],
)  # fmt: skip
def test_a_text_that_names_both_sources_is_cut_between_them(text: str, parts: list[str]) -> None:
    assert parts_naming_one_source(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "more thermal, please, as much infrared as you can",
        "Keep people bright, and the shadows too.",
        "heat sources should be more visible",
        "my cat is a petite tvillion, nirvana",
        "",
    ],
)
def test_a_text_that_names_one_source_or_none_stays_whole(text: str) -> None:
    assert parts_naming_one_source(text) == [text]


def test_every_part_names_one_source_and_is_a_piece_of_the_text() -> None:
    for text in (*PROMPTS.values(), "IR, RGB, IR; RGB - and NIR but colour", "thermal visible thermal visible"):
        parts = parts_naming_one_source(text)
        assert all(part in text for part in parts)
        if parts != [text]:
            assert all(len({mention.source for mention in find_mentions(part)}) == 1 for part in parts)
