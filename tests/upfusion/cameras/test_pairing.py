import numpy as np
import pytest

from upfusion.cameras.file_names import read_name
from upfusion.cameras.layouts import parse_partners
from upfusion.cameras.pairing import PairBy, nearest_pairs, pair_files

# Scheme: how it is paired, a visible and a thermal name of shot N (taken at second S of a minute).
SCHEMES = {
    "DJI, letters": ("name", "DJI_{n:04}_W.JPG", "DJI_{n:04}_T.JPG"),
    "DJI, time and number": ("number", "DJI_202405041011{s:02}_{n:04}_V.JPG", "DJI_202405041011{s:02}_{n:04}_T.JPG"),
    "DJI, words": ("name", "DJI_{n:04}_WIDE.jpg", "DJI_{n:04}_THRM.jpg".replace("THRM", "THM")),
    "Zenmuse XT2, one side unmarked": ("name", "DJI_{n:04}.JPG", "DJI_{n:04}_R.JPG"),
    "FLIR, numbers that follow each other": ("number", "DC_{m:04}.jpg", "IR_{l:04}.jpg"),
    "FLIR, time": ("time:1.5", "20240504_1011{s:02}_EO.jpg", "20240504_1011{t:02}_034_R.jpg"),
    "Parrot": ("name", "P{n:07}_RGB.JPG", "P{n:07}_THERMAL.TIF"),
    "Autel": ("name", "MAX_{n:04}.JPG", "IRX_{n:04}.TIFF"),
    "Hikvision, channels": (
        "time",
        "10.0.0.4_ch01_202405041011{s:02}120.jpg",
        "10.0.0.4_ch02_202405041011{s:02}640.jpg",
    ),
    "Hikmicro": ("name", "HM202405041011{s:02}_VIS.jpeg", "HM202405041011{s:02}_IR.jpeg"),
    "Workswell": ("number", "Image_{n}_visible.jpg", "Image_{n}_thermal.tiff"),
    "phone dongles": ("number", "img_visible_{n}.jpg", "img_thermal_{n}.jpg"),
    "two folders, other prefixes": ("number", "visible/IMG_{n:04}.JPG", "infrared/FLIR{n:04}.jpg"),
    "two folders, a second apart": (
        "time",
        "visible/cam/2024-05-04_10-11-{s:02}.jpg",
        "infrared/100FLIR/2024-05-04T10.11.{t:02}.tif",
    ),
}


def name_of(pattern, shot):
    return pattern.format(n=shot, s=5 * shot, t=5 * shot + 1, l=2 * shot - 1, m=2 * shot)


def folder_of(file):
    folder, *below = file.split("/")
    side = {"visible": "a", "infrared": "b"}.get(folder)
    return (side, "/".join(below[:-1])) if side else None


def pair(files, by):
    return pair_files(files, PairBy.parse(by), folder_of=folder_of)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_camera_s_names_are_paired_whatever_is_missing_or_doubled(scheme):
    by, a, b = SCHEMES[scheme]
    dice = np.random.default_rng(0)
    for _ in range(20):
        there_a = {shot for shot in range(1, 11) if dice.random() > 0.2}
        there_b = {shot for shot in range(1, 11) if dice.random() > 0.2}
        files = [name_of(a, shot) for shot in there_a] + [name_of(b, shot) for shot in there_b]
        found = pair(list(dice.permutation(files)), by)
        assert found.pairs == sorted((name_of(a, shot), name_of(b, shot)) for shot in there_a & there_b)
        assert set(found.leftovers) == set(files) - {file for both in found.pairs for file in both}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_image_is_in_one_pair_however_often_its_shot_is_there(scheme):
    by, a, b = SCHEMES[scheme]
    double = name_of(a, 3).replace(".", "_copy.", 1) if "10.0.0" not in a else "again/" + name_of(a, 3)
    files = [name_of(pattern, shot) for pattern in (a, b) for shot in range(1, 6)]
    found = pair([*files, double], by)
    used = [file for both in found.pairs for file in both]
    assert len(used) == len(set(used)) == 10
    assert len(found.leftovers) == 1


def test_a_zoom_camera_is_no_side():
    found = pair(["DJI_0001_T.JPG", "DJI_0001_W.JPG", "DJI_0001_Z.JPG"], "name")
    assert found.pairs == [("DJI_0001_W.JPG", "DJI_0001_T.JPG")]
    assert found.ignored == ["DJI_0001_Z.JPG"]
    assert found.leftovers == []


def test_the_values_of_a_sensor_go_before_their_preview():
    found = pair(["MAX_0001.JPG", "IRX_0001.JPG", "IRX_0001.TIFF"], "name")
    assert found.pairs == [("MAX_0001.JPG", "IRX_0001.TIFF")]
    assert found.leftovers == ["IRX_0001.JPG"]


def test_shots_of_two_cards_are_not_mixed():
    files = [f"{card}/DJI_0001_{letter}.JPG" for card in ("100MEDIA", "101MEDIA") for letter in "TW"]
    assert pair(files, "number").pairs == [
        ("100MEDIA/DJI_0001_W.JPG", "100MEDIA/DJI_0001_T.JPG"),
        ("101MEDIA/DJI_0001_W.JPG", "101MEDIA/DJI_0001_T.JPG"),
    ]


def test_time_out_of_exif_goes_before_the_name():
    files = ["visible/a.jpg", "infrared/20240504_101112.jpg", "infrared/b.jpg"]
    found = pair_files(
        files,
        PairBy.parse("time:3"),
        folder_of=folder_of,
        taken={"visible/a.jpg": 1000.0, "infrared/b.jpg": 1002.5, "infrared/20240504_101112.jpg": 2000.0},
    )
    assert found.pairs == [("visible/a.jpg", "infrared/b.jpg")]
    assert found.leftovers == ["infrared/20240504_101112.jpg"]


def test_the_nearest_are_paired_first():
    assert nearest_pairs({"a1": 0.0, "a2": 1.0}, {"b1": 0.9, "b2": 1.6}, 2) == [("a2", "b1"), ("a1", "b2")]
    assert nearest_pairs({"a1": 0.0}, {"b1": 2.5}, 2) == []


def test_many_equal_times_take_no_quadratic_time():
    count = 100_000
    pairs = nearest_pairs({f"a{n}": 0.0 for n in range(count)}, {f"b{n}": 0.0 for n in range(count)}, 1)
    assert len(pairs) == count


def test_nearest_pairs_agree_with_trying_all():
    dice = np.random.default_rng(1)
    for _ in range(200):
        a = {f"a{n}": float(value) for n, value in enumerate(dice.random(7))}
        b = {f"b{n}": float(value) for n, value in enumerate(dice.random(6))}
        expected, left = [], sorted((abs(a[x] - b[y]), x, y) for x in a for y in b)
        while left and left[0][0] <= 0.2:
            _, x, y = left[0]
            expected.append((x, y))
            left = [one for one in left if one[1] != x and one[2] != y]
        assert nearest_pairs(a, b, 0.2) == expected


@pytest.mark.parametrize("text", ["", "names", "time:", "time:-1", "number:2", "name:1"])
def test_other_words_are_refused(text):
    with pytest.raises(ValueError, match=r"name.*number.*time"):
        PairBy.parse(text)


def test_a_time_that_no_calendar_has_is_none():
    assert read_name("20240231_101112").taken is None
    assert read_name("20240229_101112").taken == 1709201472.0


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"a": 1}', b"[" * 100_000])
def test_a_table_of_partners_is_one_of_names(data):
    with pytest.raises(ValueError, match="rgb_to_thermal_vid_map"):
        parse_partners(data)
