"""The wording of every message, compared with the golden file."""

from tests import messages


def test_the_messages_are_those_of_the_golden_file():
    golden = messages.GOLDEN.read_text(encoding="utf-8").split("\n")
    assert messages.collected().split("\n") == golden, "reworded: run python -m tests.messages"


def test_the_golden_file_is_the_only_test_of_wording():
    assert messages.repeated_in_tests() == [], "assert an error code, a type, a field, or the values a message names"
