import io
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import are_exchanged, check_local_sources
from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.archive.shard import Shard
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from tests.pipelines.archive.found import find, named

LLVIP = ["visible/train/010001.jpg", "infrared/train/010001.jpg", "visible/test/1.jpg", "infrared/test/1.jpg"]


def put(place: str, *names: str, data: bytes = b"") -> None:
    for name in names:
        storage.write_bytes(storage.join(place, name), data)


def encoded(size: tuple[int, int] = (32, 24), form: str = "PNG", orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, exif=exif, **options)
    return buffer.getvalue()


@pytest.fixture
def place(place) -> str:
    """An empty folder, or an empty prefix."""
    return f"{place}/archive"


@pytest.mark.parametrize("source", ["", "all.csv"])
def test_every_pair_and_every_image_without_one_is_in_one_shard(tmp_path, source):
    ids = [f"{number:02}" for number in range(20)]
    put(tmp_path, *(f"{folder}/{pair_id}.png" for pair_id in ids for folder in ("visible", "infrared")))
    put(tmp_path, *(f"visible/alone{number}.png" for number in range(8)))
    rows = [f"{pair_id},visible/{pair_id}.png,infrared/{pair_id}.png\n" for pair_id in ids]
    put(tmp_path, "all.csv", data="".join(["pair_id,a_uri,b_uri\n", *rows]).encode())
    place = f"{tmp_path}/{source}"
    shards = [find(place, shard=f"{number}/3") for number in (1, 2, 3)]
    assert pa.concat_tables([shard.pairs for shard in shards]).sort_by("pair_id").equals(find(place).pairs)
    assert sorted(uri for shard in shards for uri in shard.unpaired) == find(place).unpaired
    assert find(place, shard="1/3", limit=2).pairs.equals(shards[0].pairs.slice(0, 2))
    empty = next(n for n in range(1, 1000) if not any(Shard(n, 1000).contains(pair_id) for pair_id in ids))
    with pytest.raises(UsageError, match=f"shard {empty}/1000"):
        find(place, shard=f"{empty}/1000")


def test_llvips_layout_gives_sorted_pairs_with_uris_that_can_be_read(place):
    put(place, *LLVIP, "readme.md")
    found = find(place)
    assert named(found, place) == {
        "test/1": ("visible/test/1.jpg", "infrared/test/1.jpg"),
        "train/010001": ("visible/train/010001.jpg", "infrared/train/010001.jpg"),
    }
    assert found.pairs["pair_id"].to_pylist() == ["test/1", "train/010001"]
    assert found.pairs.schema == MANIFEST_SCHEMA
    assert (found.unpaired, found.ignored) == ([], 1)
    assert all(storage.exists(uri) for side in ("a_uri", "b_uri") for uri in found.pairs[side].to_pylist())
    assert named(find(place + "/"), place) == named(found, place)


@pytest.mark.parametrize(
    ("a", "b", "pair_id", "task"),
    [
        ("test/visible/1.png", "test/infrared/1.png", "test/1", "ir_visible"),
        ("vi/1.png", "ir/1.png", "1", "ir_visible"),
        ("Vis/1.png", "Ir/1.png", "1", "ir_visible"),
        ("VISIBLE/1.png", "infrared/1.png", "1", "ir_visible"),
        ("RGB/1.png", "thermal/1.png", "1", "ir_visible"),
        ("a/1.png", "b/1.png", "1", "ir_visible"),
        ("ct/1.png", "mri/1.png", "1", "ct_mri"),
        ("CT-MRI/CT/1.png", "CT-MRI/MRI/1.png", "CT-MRI/1", "ct_mri"),
        ("pet/1.png", "mr/1.png", "1", "pet_mri"),
        ("spect/1.png", "mri/1.png", "1", "spect_mri"),
        ("rgb/1.png", "nir/1.png", "1", "nir_visible"),
        ("optical/1.png", "nir/1.png", "1", "nir_visible"),
        ("optical/1.png", "ir/1.png", "1", "ir_visible"),
        ("opt/1.png", "sar/1.png", "1", "sar_optical"),
        ("visible/1.png", "sar/1.png", "1", "sar_optical"),
        ("x/y/vi/z/deep/1.png", "x/y/ir/z/deep/1.png", "x/y/z/deep/1", "ir_visible"),
        # The innermost sensor folder counts, and `a` only where no other folder names a sensor.
        ("rgb/vi/1.png", "rgb/ir/1.png", "rgb/1", "ir_visible"),
        ("a/vi/1.png", "a/ir/1.png", "a/1", "ir_visible"),
        ("vi/B/1.png", "ir/B/1.png", "B/1", "ir_visible"),
        ("b/a/1.png", "b/b/1.png", "b/1", "ir_visible"),
        ("vi/1.jpg", "ir/1.png", "1", "ir_visible"),
        ("vi/1.TIFF", "ir/1.Bmp", "1", "ir_visible"),
        ("vi/1.webp", "ir/1.jpeg", "1", "ir_visible"),
        ("vi/1.v2.jpg", "ir/1.v2.png", "1.v2", "ir_visible"),
    ],
)
def test_sensor_folders_decide_side_id_and_task(tmp_path, a, b, pair_id, task):
    put(str(tmp_path), a, b)
    found = find(tmp_path)
    assert named(found, tmp_path) == {pair_id: (a, b)}
    assert found.pairs["task"].to_pylist() == [task]


def test_a_task_that_is_asked_for_wins_over_folder_names(tmp_path):
    put(str(tmp_path), "ct/1.png", "mri/1.png")
    assert find(tmp_path, task="pet_mri").pairs["task"].to_pylist() == ["pet_mri"]


def test_one_archive_may_hold_several_tasks(tmp_path):
    put(str(tmp_path), *[f"CT-MRI/{side}/1.png" for side in ("CT", "MRI")])
    put(str(tmp_path), *[f"PET-MRI/{side}/1.png" for side in ("PET", "MRI")])
    found = find(tmp_path)
    assert dict(zip(found.pairs["pair_id"].to_pylist(), found.pairs["task"].to_pylist(), strict=True)) == {
        "CT-MRI/1": "ct_mri",
        "PET-MRI/1": "pet_mri",
    }


def test_a_missing_file_shifts_no_pair_and_is_reported(place):
    put(place, *[f"vi/{number}.png" for number in (1, 2, 3, 5)], *[f"ir/{number}.png" for number in (1, 3, 4, 5)])
    found = find(place)
    assert named(found, place) == {str(n): (f"vi/{n}.png", f"ir/{n}.png") for n in (1, 3, 5)}
    assert found.unpaired == [f"{place}/ir/4.png", f"{place}/vi/2.png"]


def test_names_in_different_case_are_different_pairs(tmp_path):
    put(str(tmp_path), "vi/Street.png", "ir/Street.png", "vi/street.png", "ir/street.png", "vi/B.png", "ir/b.png")
    found = find(tmp_path)
    assert named(found, tmp_path) == {name: (f"vi/{name}.png", f"ir/{name}.png") for name in ("Street", "street")}
    assert [Path(uri).name for uri in found.unpaired] == ["b.png", "B.png"]


@pytest.mark.parametrize(
    "name", ["東京 夜", "été", "with  spaces ", "[x]", "*?", "-dash", "--out", "a%20b", "x#1&y", "a::b", "two\nlines"]
)
def test_every_character_of_a_name_stands_for_itself(place, name):
    put(place, f"vi/{name}.png", f"ir/{name}.png", "vi/x.png", "ir/xx.png")
    assert named(find(place), place) == {name: (f"vi/{name}.png", f"ir/{name}.png")}
    found = find(place, a="vi/*.png", b="ir/*.png")
    assert named(found, place) == {name: (f"vi/{name}.png", f"ir/{name}.png")}


def test_partners_whose_names_differ_in_unicodes_form_are_found(place):
    composed, decomposed = "caf\u00e9/\u00e9", "cafe\u0301/e\u0301"
    put(place, f"vi/{composed}.png", f"ir/{decomposed}.png")
    expected = {composed: (f"vi/{composed}.png", f"ir/{decomposed}.png")}
    assert named(find(place), place) == expected
    for form in (composed, decomposed):
        folder = form.split("/")[0]
        found = find(place, a=f"vi/{folder}/*.png", b=f"ir/{folder}/*.png")
        assert list(named(found, place).values()) == list(expected.values())


def test_what_is_no_image_hidden_or_in_no_sensor_folder_is_ignored_and_counted(tmp_path):
    ignored = [
        "vi/1.txt",
        "vi/._1.png",
        "ir/.thumbnails/1.png",
        ".cache/vi/1.png",
        "vi/noextension",
        "plain.png",
        "other/1.png",
        "vi.png",
        "vi/Thumbs.db",
        "vi/desktop.ini",
        "ir/1.xmp",
        "ir/1.png.json",
    ]
    put(str(tmp_path), "vi/1.png", "ir/1.png", *ignored)
    found = find(tmp_path)
    assert list(named(found, tmp_path)) == ["1"]
    assert found.unpaired == []
    assert found.ignored == len(ignored)


@pytest.mark.parametrize(
    ("first", "second"),
    [("vi/1.jpg", "vi/1.png"), ("vi/x/1.png", "x/vi/1.png"), ("Vis/1.png", "visible/1.png"), ("ct/1.png", "pet/1.png")],
)
def test_two_images_for_one_side_are_refused_by_name(tmp_path, first, second):
    put(str(tmp_path), first, second, "ir/1.png")
    with pytest.raises(UsageError, match=r"\bA\b") as refused:
        find(tmp_path)
    assert f"{tmp_path}/{first}" in str(refused.value)
    assert f"{tmp_path}/{second}" in str(refused.value)


def test_limit_takes_the_first_pairs_by_id_and_calls_none_of_the_rest_unpaired(tmp_path):
    put(str(tmp_path), *[f"{side}/{name}.png" for side in ("vi", "ir") for name in ("x/b", "x/2", "y", "x/10")])
    put(str(tmp_path), "vi/alone.png")
    found = find(tmp_path, limit=2)
    assert found.pairs["pair_id"].to_pylist() == ["x/10", "x/2"]
    assert found.unpaired == [f"{tmp_path}/vi/alone.png"]
    assert find(tmp_path, limit=100).pairs.num_rows == 4


def test_a_relative_source_gives_absolute_uris(tmp_path, monkeypatch):
    put(str(tmp_path), "night/vi/1.png", "night/ir/1.png")
    monkeypatch.chdir(tmp_path)
    assert named(find("night"), tmp_path / "night") == {"1": ("vi/1.png", "ir/1.png")}


def test_another_name_of_the_stores_scheme_changes_no_id(object_store):
    bucket = object_store.new_bucket()
    put(bucket, "night/vi/1.png", "night/ir/1.png")
    assert find(bucket.replace("s3://", "s3a://") + "/night").pairs["pair_id"].to_pylist() == ["1"]
    assert find(bucket).pairs["pair_id"].to_pylist() == ["night/1"]


def test_a_source_without_pairs_says_what_is_there_and_what_to_do(tmp_path):
    put(str(tmp_path), "vi/1.png", "ir/2.png", "notes.txt")
    with pytest.raises(UsageError, match=str(tmp_path)) as refused:
        find(tmp_path)
    assert re.search(r"\b2\b.*\b1\b", str(refused.value).replace(str(tmp_path), ""))
    assert "--a PATTERN" in str(refused.value)
    with pytest.raises(UsageError, match=r"--a 'x/\*'.*--b 'y/\*'"):
        find(tmp_path, a="x/*", b="y/*")


def test_an_empty_folder_holds_no_pairs(tmp_path):
    with pytest.raises(UsageError, match=str(tmp_path)):
        find(tmp_path)


def test_a_source_that_is_not_there_is_said_to_be_missing(place):
    with pytest.raises(UsageError, match=f"SOURCE {place}/nowhere"):
        find(place + "/nowhere")


def test_a_bucket_that_is_not_there_is_a_wrong_request(bucket):
    missing = bucket + "-not"
    with pytest.raises(UsageError, match=rf"SOURCE {missing}/x.*NoSuchBucket"):
        find(missing + "/x")


def test_a_folder_that_cannot_be_listed_is_a_wrong_request(tmp_path, monkeypatch):
    def denied(uri: str) -> list[str]:
        raise PermissionError(13, "Permission denied", uri)

    monkeypatch.setattr(storage, "list_files", denied)
    with pytest.raises(UsageError, match="Permission denied"):
        find(tmp_path)


def test_a_single_image_is_no_source(place):
    put(place, "vi/1.png")
    with pytest.raises(UsageError, match=r"1\.png.*folder"):
        find(place + "/vi/1.png")


def test_a_name_that_is_not_utf8_is_refused_by_name(tmp_path):
    put(str(tmp_path), "vi/1.png", "ir/1.png")
    (tmp_path / "ir" / os.fsdecode(b"caf\xe9.txt")).touch()
    assert find(tmp_path).ignored == 1
    (tmp_path / "vi" / os.fsdecode(b"caf\xe9.png")).touch()
    with pytest.raises(UsageError, match=r"caf\\xe9.png'.*UTF-8"):
        find(tmp_path)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("cam1/*.jpg", "cam2/*.jpg", {"001": ("cam1/001.jpg", "cam2/001.jpg")}),
        ("cam1/*_vis.jpg", "cam2/*_ir.png", {"7": ("cam1/7_vis.jpg", "cam2/7_ir.png")}),
        ("cam1/*", "cam2/*", {"001": ("cam1/001.jpg", "cam2/001.jpg")}),
        ("./cam1/*.jpg", "/cam2/*.jpg", {"001": ("cam1/001.jpg", "cam2/001.jpg")}),
        (
            "**/*-v.png",
            "**/*-i.png",
            {"deep/er/3": ("deep/er/3-v.png", "deep/er/3-i.png"), "4": ("4-v.png", "4-i.png")},
        ),
        (
            "deep/**-v.png",
            "deep/**-i.png",
            {"er/3": ("deep/er/3-v.png", "deep/er/3-i.png"), "a b/[5]": ("deep/a b/[5]-v.png", "deep/a b/[5]-i.png")},
        ),
        ("line**-vi.png", "line**-ir.png", {"\nbreak/6": ("line\nbreak/6-vi.png", "line\nbreak/6-ir.png")}),
        ("[x]?/v*.png", "[x]?/i*.png", {"1/8": ("[x]1/v8.png", "[x]1/i8.png")}),
        # A file that both patterns match belongs to the one that says more.
        ("flat/*.png", "flat/*_ir.png", {"9": ("flat/9.png", "flat/9_ir.png")}),
        ("**/9.png", "**/9_ir.png", {"flat": ("flat/9.png", "flat/9_ir.png")}),
        # A pattern without a star is one file.
        ("4-v.png", "4-i.png", {"pair": ("4-v.png", "4-i.png")}),
    ],
)
def test_what_the_stars_stand_for_makes_the_pairs(tmp_path, a, b, expected):
    put(str(tmp_path), "cam1/001.jpg", "cam2/001.jpg", "cam1/7_vis.jpg", "cam2/7_ir.png", "4-v.png", "4-i.png")
    put(str(tmp_path), "deep/er/3-v.png", "deep/er/3-i.png", "deep/a b/[5]-v.png", "deep/a b/[5]-i.png")
    put(str(tmp_path), "line\nbreak/6-vi.png", "line\nbreak/6-ir.png")
    put(str(tmp_path), "[x]1/v8.png", "[x]1/i8.png", "x1/v8.png", "flat/9.png", "flat/9_ir.png")
    found = named(find(tmp_path, a=a, b=b), tmp_path)
    if a.startswith("**/*"):
        found.pop("deep/a b/[5]")
    assert found == expected


def test_patterns_list_what_has_no_partner_and_count_what_they_do_not_match(tmp_path):
    put(str(tmp_path), "cam1/1.jpg", "cam2/1.jpg", "cam1/2.jpg", "cam3/1.jpg", "cam1/1.txt")
    found = find(tmp_path, a="cam1/*.jpg", b="cam2/*.jpg")
    assert list(named(found, tmp_path)) == ["1"]
    assert [uri.removeprefix(f"{tmp_path}/") for uri in found.unpaired] == ["cam1/2.jpg"]
    assert found.ignored == 2


def test_two_files_whose_stars_stand_for_the_same_are_refused(tmp_path):
    put(str(tmp_path), "x/cam1/1.jpg", "cam1/x/1.jpg", "cam2/1.jpg")
    with pytest.raises(UsageError, match=r"\bA\b.*'x/1'"):
        find(tmp_path, a="**/cam1/**/*.jpg", b="cam2/*.jpg")


def test_an_archive_beyond_a_limit_is_refused_with_its_option(tmp_path):
    put(str(tmp_path), "vi/1.png", "ir/1.png", "vi/22.png", "ir/22.png")
    with pytest.raises(UsageError, match=r"\b2\b.*--max-pairs 1"):
        find(tmp_path, max_pairs=1)
    with pytest.raises(UsageError, match=r"'22'.*\b2\b.*--max-id 1"):
        find(tmp_path, max_id=1)
    assert find(tmp_path, max_pairs=2, max_id=2).pairs.num_rows == 2


def test_two_folders_are_paired_by_path_and_stem(place):
    put(place, "cam1/north/1.jpg", "cam1/2.png", "cam1/3.png", "cam2/north/1.png", "cam2/2.png", "cam2/notes.txt")
    found = find(f"{place}/cam1", source_b=f"{place}/cam2")
    assert named(found, place) == {
        "2": ("cam1/2.png", "cam2/2.png"),
        "north/1": ("cam1/north/1.jpg", "cam2/north/1.png"),
    }
    assert [uri.rpartition("/")[2] for uri in found.unpaired] == ["3.png"]
    assert found.ignored == 1


@pytest.mark.parametrize(
    ("a", "b", "task"),
    [("CT", "MRI", "ct_mri"), ("left", "right", "ir_visible"), ("vis", "nir", "nir_visible")],
)
def test_two_folders_may_name_the_task(tmp_path, a, b, task):
    put(str(tmp_path), f"{a}/1.png", f"{b}/1.png")
    for below in ("", "/1.png"):
        pairs = find(f"{tmp_path}/{a}{below}", source_b=f"{tmp_path}/{b}{below}").pairs
        assert pairs["task"].to_pylist() == [task]


def test_two_files_are_a_pair_named_after_a(place):
    put(place, "FLIR_04484_RGB.jpg", "FLIR_04484_PreviewData.jpeg")
    found = find(f"{place}/FLIR_04484_RGB.jpg", source_b=f"{place}/FLIR_04484_PreviewData.jpeg")
    assert named(found, place) == {"FLIR_04484_RGB": ("FLIR_04484_RGB.jpg", "FLIR_04484_PreviewData.jpeg")}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("v/1.png", "i"),
        ("v", "i/1.png"),
        ("v/1.png", "nowhere.png"),
        ("nowhere", "i"),
        ("v", "other"),
        ("v/1.png", "x.txt"),
    ],
)
def test_what_is_no_pair_of_files_or_folders_is_refused(tmp_path, a, b):
    put(str(tmp_path), "v/1.png", "i/1.png", "other/2.png", "x.txt")
    with pytest.raises(UsageError):
        find(f"{tmp_path}/{a}", source_b=f"{tmp_path}/{b}")


def test_a_local_source_that_is_not_there_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    there, nowhere = str(tmp_path), str(tmp_path / "nowhere")
    for source, source_b, option in ((nowhere, None, "SOURCE "), (there, nowhere, "SOURCE_B ")):
        with pytest.raises(UsageError, match=option) as refused:
            check_local_sources(ArchiveConfig(source=source, source_b=source_b))
        assert nowhere in str(refused.value)
    check_local_sources(ArchiveConfig(source=there))
    check_local_sources(ArchiveConfig(source="s3://bucket/somewhere"))


@pytest.mark.parametrize(
    ("a", "b", "exchanged"),
    [
        ("infrared", "visible", True),
        ("IR", "vi", True),
        ("mri/1.png", "pet/1.png", True),
        ("visible", "infrared", False),
        ("infrared", "ir", False),
        ("infrared", "cam1", False),
        ("infrared", None, False),
    ],
)
def test_folders_named_after_the_other_side_are_exchanged(a: str, b: str | None, exchanged: bool) -> None:
    assert are_exchanged(ArchiveConfig(source=a, source_b=b)) is exchanged
