"""Recordings among the pairs of an archive."""

import pytest

from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import discover
from pipelines.archive.sizes import count_sizes
from pipelines.errors.exceptions import UsageError
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.footage.config import FootageConfig


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def found(folder, **settings):
    pairs = discover(ArchiveConfig(source=str(folder), **settings), recordings=True).pairs.to_pylist()
    return {
        row["pair_id"]: (row["a_uri"].removeprefix(f"{folder}/"), row["b_uri"].removeprefix(f"{folder}/"))
        for row in pairs
    }


def test_recordings_are_paired_as_images_are_whatever_their_containers(tmp_path):
    touch(tmp_path, "visible/m1/cam3.mp4", "infrared/m1/cam3.MKV", "visible/1.png", "infrared/1.jpg", "visible/x.txt")
    assert found(tmp_path) == {
        "1": ("visible/1.png", "infrared/1.jpg"),
        "m1/cam3": ("visible/m1/cam3.mp4", "infrared/m1/cam3.MKV"),
    }
    # Whoever wants pairs of images alone gets those.
    images = discover(ArchiveConfig(source=str(tmp_path)))
    assert (images.pairs["pair_id"].to_pylist(), images.ignored) == (["1"], 3)
    assert set(count_sizes(discover(ArchiveConfig(source=str(tmp_path)), recordings=True).pairs).counts) == {
        ("ir_visible", "unreadable", "unreadable"),
        ("ir_visible", "recording", "recording"),
    }


def test_patterns_name_recordings_too(tmp_path):
    touch(tmp_path, "left/0900.ts", "right/0900.avi")
    assert found(tmp_path, a="left/*", b="right/*") == {"0900": ("left/0900.ts", "right/0900.avi")}


def test_folders_of_images_are_recordings_where_a_rate_is_given(tmp_path):
    touch(tmp_path, *(f"{sensor}/drive/{number}.png" for sensor in ("visible", "infrared") for number in (1, 2, 3)))
    touch(tmp_path, "visible/drive/4.png", "visible/7.png", "infrared/7.png")
    assert len(found(tmp_path)) == 4
    assert found(tmp_path, frame_rate=25) == {
        "drive": ("visible/drive/", "infrared/drive/"),
        "recording": ("visible/", "infrared/"),
    }


def test_a_manifest_names_folders_of_frames_by_a_slash(tmp_path):
    (tmp_path / "m.csv").write_text("pair_id,a_uri,b_uri\n1,v/,/data/ir/\n2,v.mp4,s3://b/ir.mp4\n")
    pairs = discover(ArchiveConfig(source=f"{tmp_path}/m.csv"), recordings=True).pairs.to_pylist()
    assert [(row["a_uri"], row["b_uri"]) for row in pairs] == [
        (f"{tmp_path}/v/", "/data/ir/"),
        (f"{tmp_path}/v.mp4", "s3://b/ir.mp4"),
    ]


def test_a_picture_beside_a_recording_of_its_name_is_refused_by_both_names(tmp_path):
    touch(tmp_path, "visible/cam.mp4", "visible/cam.jpg", "infrared/cam.mp4")
    with pytest.raises(UsageError, match=r"\bA\b.*'cam'.*cam\.jpg.*cam\.mp4"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"offset": "soon"}, "'soon'"),
        ({"offset": "inf"}, "seconds"),
        ({"every": 2, "fps": 5}, "--every and --fps"),
    ],
)
def test_options_are_checked_before_anything_starts(given, said):
    with pytest.raises(ValueError, match=said):
        FootageConfig(**given)


def test_an_offset_means_the_same_however_it_is_written():
    config = {"source": "x", "out": "y"}
    assert FuseConfig(**config, offset="1.50").result_settings() == FuseConfig(**config, offset=1.5).result_settings()
    assert (FootageConfig(offset="auto").offset_seconds, FootageConfig(offset="-3").offset_seconds) == (None, -3.0)
