import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors.escaping import printable

HOSTILE = "\x1b]0;title\x07\x1b[2J\r\x9b31m\u202egnp.exe\x00"
HARMLESS = r"\x1b]0;title\x07\x1b[2J\r\x9b31m\u202egnp.exe\x00"


@pytest.mark.parametrize("name", ["東京 夜.png", "ünïcode", "two\nlines", "a\tb", "ideographic\u3000space", ""])
def test_what_only_stands_there_stays_as_it_is(name):
    assert printable(name) == name


def test_what_would_act_is_written_out():
    assert printable(HOSTILE) == HARMLESS
    assert printable("\udcff\u2028\u200f\U000e0001") == r"\udcff\u2028\u200f\U000e0001"


@given(st.text())
def test_nothing_is_left_that_acts(text):
    written = printable(text)
    assert not any(sign < " " or "\x7f" <= sign <= "\x9f" for sign in written.replace("\n", "").replace("\t", ""))
    assert printable(written) == written
    written.encode()
