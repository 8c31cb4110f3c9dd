"""Names of image files."""

import itertools
import os
import re
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipelines.storage import objects as storage
from pipelines.storage.names import ids_alike, image_name

NASTY = [
    "..", ".", "...", "../x", "a/../b", "a/./b", "a/b", "a//b", "/a/b", "a/b/", "/", "//", "", " ", "a ", " a", "a.",
    ".hidden", "a/.hidden", "x", "X", "x_", "x:", "x?", "x*", "x|", 'x"', "x\\y", "x\ny", "x\0y", "x\ty", "x y",
    "[x]", "-x", "~x", "$x", "%2e%2e", "%2e%2e/x", "C:\\x", "nul/..", "Street/1", "street/1", "STREET/1",
    "n" * 300, "n" * 301, "N" * 300, "n" * 120, "n" * 121, "東" * 300, "東" * 100, "a. " * 100,
    "/".join(["deep"] * 400), "/".join(["d" * 120] * 20), "東京", "é", "e\u0301", "É", "straße", "strasse", "ﬁ", "fi",
    "Ω", "\u2126", "ω", "nul", "CON", "aux.v2", "deep/LPT1/x", "com1", "_nul", "nul_", "null", "console",
    "가", "\u1100\u1161", "\U0001f600", "\U0001f601", "\u202ex", "x\u200b", "\u0131", "i", "İ",
]  # fmt: skip
NASTY += [image_name(pair_id, "") for pair_id in NASTY]


def test_different_ids_have_different_names_even_where_a_store_ignores_case_and_forms():
    ids = set(NASTY)
    names = {unicodedata.normalize("NFC", image_name(pair_id, ".png")).casefold() for pair_id in ids}
    assert len(names) == len(ids)


@pytest.mark.parametrize("pair_id", sorted(set(NASTY)))
def test_no_id_leads_out_of_the_folder_or_to_a_name_that_cannot_be_written(tmp_path, pair_id):
    name = image_name(pair_id, ".png")
    assert name.endswith(".png")
    assert os.path.normpath(name) == name
    parts = name.split("/")
    assert not any(part.startswith(".") or part != part.strip() or len(part.encode()) > 200 for part in parts)
    assert len(name.encode()) < 700
    assert name.isprintable()
    assert not set('<>:"|?*\\') & set(name)
    assert not any(part.split(".")[0].casefold() in ("nul", "con", "aux", "prn", "com1", "lpt1") for part in parts)
    storage.write_bytes(f"{tmp_path}/images/{name}", b"1")
    assert storage.list_files(str(tmp_path)) == [f"{tmp_path}/images/{name}"]


@pytest.mark.parametrize(
    ("pair_id", "name"),
    [
        ("train/010001", "train/010001.png"),
        ("street 1.v2", "street 1.v2.png"),
        ("東京/夜", "東京/夜.png"),
        ("Street", "Street-c666591df053.png"),
        ("../x", "_/x-d6b96a97d147.png"),
    ],
)
def test_names_stay_what_they_are(pair_id, name):
    """A retry, by any later version, writes the same object."""
    assert image_name(pair_id, ".png") == name


# What makes ids collide or lead elsewhere: separators, dots, case, Unicode's forms, and the names that come of others.
SIGNS = st.sampled_from(
    [*"/\\.:_- aAéeßsiIKk\0\n%", "\u0301", "\u212a", "\u017f", "\u0131", "\u0130", "..", "/../", "C:",
     "nul", "0123456789ab"]
)  # fmt: skip
IDS = st.one_of(st.text(max_size=40), st.lists(SIGNS, max_size=12).map("".join))


@settings(max_examples=500)
@given(IDS)
def test_whatever_an_id_is_its_image_lies_below_the_folder(pair_id):
    path = PurePosixPath("/out/images", image_name(pair_id, ".png"))
    assert PurePosixPath(os.path.normpath(path)) == path
    assert path.is_relative_to("/out/images")
    for part in path.relative_to("/out/images").parts:
        assert part.isprintable()
        assert not PureWindowsPath(part).drive
        assert PureWindowsPath(part).name == part
        assert len(part.encode()) <= 255


@settings(max_examples=500)
@given(IDS, IDS)
def test_whatever_two_ids_are_their_names_differ_on_every_store(one, other):
    assume(one != other)
    alike = ids_alike(pa.chunked_array([[one, other]], pa.string()))
    for form, known in itertools.product(("NFC", "NFD"), (None, alike)):
        folded = [unicodedata.normalize(form, image_name(pair_id, "", known)).casefold() for pair_id in (one, other)]
        names = {unicodedata.normalize(form, name) for name in folded}
        assert len(names) == 2


def test_capital_letters_stay_where_no_other_id_differs_in_them_alone():
    ids = pa.chunked_array([["FLIR_04484", "CAM", "cam"]])
    names = [image_name(pair_id, ".png", ids_alike(ids)) for pair_id in ids.to_pylist()]
    assert names[0] == "FLIR_04484.png"
    assert all(re.fullmatch(r"(CAM|cam)-[0-9a-f]{12}\.png", name) for name in names[1:])
    # Before the archive grew by the second of the two.
    assert image_name("CAM", ".png", frozenset()) == "CAM.png"
