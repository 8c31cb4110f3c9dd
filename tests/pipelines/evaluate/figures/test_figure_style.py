import pytest

from pipelines.evaluate.figures.figure_style import direction, figure_style, fitted, look, metric_label, text_width


@pytest.fixture(autouse=True)
def style():
    with figure_style():
        yield


def test_what_fits_stays():
    assert fitted("IGNet", 1) == "IGNet"


@pytest.mark.parametrize("text", ["x" * 200, "W" * 200, "夜" * 200, "long name " * 5000, "$a_b$ " * 40])
def test_what_does_not_fit_keeps_both_ends_of_itself(text):
    text = f"first {text.strip()} last"
    short = fitted(text, 1.5)
    assert text_width(short) <= 1.5
    assert text_width(short) > 1.2, "more would have fitted"
    before, after = short.split("…")
    assert text.startswith(before)
    assert text.endswith(after)
    assert after


def test_any_text_becomes_one_line_that_xml_can_hold():
    assert fitted(" a\n\tb ", 1) == "a b"
    assert fitted("a\x00\x1b\ud800b", 1) == "a\ufffd\ufffd\ufffdb"
    assert fitted("", 1) == ""


def test_methods_look_different_without_colour():
    assert len({(look(number).marker, look(number).hatch) for number in range(84)}) == 84
    assert len({look(number).marker for number in range(12)}) == 12


def test_a_metric_says_its_direction():
    assert metric_label("vif_balanced") == "Visual information fidelity, balanced\n(higher is better)"
    assert direction("nabf") == "lower is better"
