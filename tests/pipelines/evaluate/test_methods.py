from dataclasses import replace

import pyarrow as pa
import pytest

from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.methods import Matched, Method, find_methods, match_images
from pipelines.evaluate.sets import EvaluationSet
from pipelines.storage import objects as storage
from upfusion.baselines import BASELINES
from upfusion.checkpoint import EMBEDDED, Provenance, parse_checkpoint

TINY = EMBEDDED / "tiny.safetensors"


def set_of(*ids: str, name: str = "night") -> EvaluationSet:
    rows = [{"pair_id": i, "a_uri": f"/a/{i}", "b_uri": f"/b/{i}", "task": "ir_visible"} for i in sorted(ids)]
    return EvaluationSet(name, "/sets/night", pa.Table.from_pylist(rows, MANIFEST_SCHEMA), [])


def put(folder: str, *names: str) -> Method:
    for name in names:
        storage.write_bytes(storage.join(folder, name), name.encode())
    return Method("theirs", "images", folder)


def names_below(folder: str, matched: Matched) -> dict[str, str]:
    return {pair_id: image.uri.removeprefix(f"{folder}/") for pair_id, image in matched.images.items()}


def match(folder: str, ids: tuple[str, ...], *names: str) -> tuple[dict[str, str], list[str]]:
    """Match files of a results folder with a set that is alone."""
    matched = match_images(put(folder, *names), set_of(*ids), alone=True)
    return names_below(folder, matched), [uri.removeprefix(f"{folder}/") for uri in matched.extra]


# Which file belongs to which pair


def test_a_file_belongs_to_the_pair_whose_id_is_its_path(place):
    ids = ("1", "2", "day/1", "day/2.x", "ünï [1]")
    names = {"1": "1.png", "2": "2.JPG", "day/1": "day/1.bmp", "day/2.x": "day/2.x.tiff", "ünï [1]": "ünï [1].webp"}
    assert match(place, ids, *names.values()) == (names, [])


def test_a_file_of_another_form_of_unicode_belongs_to_its_pair(tmp_path):
    composed, decomposed = "caf\u00e9/\u00e9", "cafe\u0301/e\u0301"
    assert match(str(tmp_path), (composed,), f"{decomposed}.png") == ({composed: f"{decomposed}.png"}, [])
    both = (composed, decomposed)
    assert match(str(tmp_path), both, f"{composed}.png")[0] == {one: f"{one}.png" for one in both}


def test_no_pair_gets_the_image_of_another_because_one_is_missing(place):
    found, extra = match(place, ("1", "2", "3"), "2.png", "3.png", "4.png")
    assert found == {"2": "2.png", "3": "3.png"}
    assert extra == ["4.png"]


@pytest.mark.parametrize("name", ["1.png", "test/1.png"])
def test_folders_that_name_a_split_may_be_left_out(tmp_path, name):
    assert match(str(tmp_path), ("test/1", "test/2"), name) == ({"test/1": name}, [])


@pytest.mark.parametrize("name", ["day/1.png", "test/day/1.png", "1.png"])
def test_a_flat_file_belongs_to_the_only_pair_of_its_name(tmp_path, name):
    assert match(str(tmp_path), ("test/day/1", "test/day/2"), name) == ({"test/day/1": name}, [])


def test_a_name_that_two_pairs_have_belongs_to_neither(tmp_path):
    found, extra = match(str(tmp_path), ("day/1", "night/1", "night/2"), "1.png", "2.png")
    assert found == {"night/2": "2.png"}
    assert extra == ["1.png"]


def test_a_path_that_two_pairs_have_without_their_splits_belongs_to_neither(tmp_path):
    found, extra = match(str(tmp_path), ("test/a/1", "val/a/1"), "a/1.png", "val/a/1.png", "1.png")
    assert found == {"val/a/1": "val/a/1.png"}
    assert extra == ["1.png", "a/1.png"]


@pytest.mark.parametrize("name", ["day/1.png", "day/night/1.png", "1/1.png", "dark/1.png", "1.x.png", "01.png"])
def test_a_file_of_another_path_belongs_to_no_pair(tmp_path, name):
    assert match(str(tmp_path), ("night/1",), name) == ({}, [name])


def test_the_pair_whose_id_is_the_path_goes_before_one_that_ends_alike(tmp_path):
    found, extra = match(str(tmp_path), ("1", "day/1"), "1.png", "day/1.png")
    assert found == {"1": "1.png", "day/1": "day/1.png"}
    assert extra == []
    assert match(str(tmp_path / "flat"), ("1", "day/1"), "1.png") == ({"1": "1.png"}, [])


def test_hidden_files_and_what_is_no_image_are_passed_over(place):
    names = (".1.png", "._2.png", ".cache/1.png", "1.txt", "1", "metrics.csv", "1.png.bak")
    assert match(place, ("1", "2"), "2.png", *names) == ({"2": "2.png"}, [])


@pytest.mark.parametrize("names", [("1.png", "1.jpg"), ("1.png", "test/1.png")])
def test_two_files_that_claim_one_pair_are_refused_by_name(place, names):
    with pytest.raises(UsageError, match=r"theirs.*'test/1'.*night") as refused:
        match(place, ("test/1",), *names)
    assert all(storage.join(place, name) in str(refused.value) for name in names)


# Where the files lie


def test_a_sub_folder_called_like_the_set_goes_before_the_folder_itself(place):
    found, extra = match(place, ("1", "2"), "night/1.png", "2.png")
    assert (found, extra) == ({"1": "night/1.png"}, [])


@pytest.mark.parametrize("other", ["night/notes.txt", "night/.1.png", "nightly/1.png"])
def test_a_sub_folder_without_images_is_none(tmp_path, other):
    found, _ = match(str(tmp_path), ("1", "2"), "2.png", other)
    assert found == {"2": "2.png"}


def test_with_several_sets_only_sub_folders_count(place):
    method = put(place, "1.png", "night/2.png")
    assert match_images(method, set_of("1", name="day"), alone=False) == Matched({}, [])
    found = match_images(method, set_of("1", "2"), alone=False)
    assert names_below(place, found) == {"2": "night/2.png"}
    assert found.extra == []


def test_a_version_tells_whether_a_file_was_put_again(place):
    method = put(place, "1.png", "2.png")
    before = match_images(method, set_of("1", "2"), alone=True).images
    storage.write_bytes(storage.join(place, "1.png"), b"2.png")
    after = match_images(method, set_of("1", "2"), alone=True).images
    assert after["1"].uri == before["1"].uri
    assert after["1"].version != before["1"].version
    assert after["2"] == before["2"]


def test_a_folder_that_cannot_be_listed_is_named(bucket):
    method = Method("theirs", "images", f"{bucket}-not-there/fused")
    with pytest.raises(UsageError, match=rf"{bucket}-not-there/fused/night.*NoSuchBucket"):
        match_images(method, set_of("1"), alone=True)


# What a method is


def found(*given: object) -> list[Method]:
    return find_methods(tuple(map(str, given)), None)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_known_by_name(name, tmp_path, monkeypatch):
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert found(name) == [Method(name, "baseline", name)]
    assert found(f"other={name}") == [Method("other", "baseline", name)]
    assert found(f"./{name}") == [Method(name, "images", str(tmp_path / name))]


def test_the_model_that_ships_is_known_by_name():
    shipped, named = found("tiny", "ours=tiny")
    assert (shipped.name, shipped.kind, shipped.what) == ("tiny", "model", "tiny")
    assert (named.name, named.kind, named.what) == ("ours", "model", "tiny")
    assert shipped.network.data == TINY.read_bytes()
    assert shipped.network.digest == parse_checkpoint(shipped.network.data, "tiny").digest
    assert shipped.identity == named.identity == f"model {shipped.network.digest}"


def test_a_checkpoint_file_is_a_model_called_like_it(tmp_path, place):
    storage.write_bytes(storage.join(place, "best.safetensors"), TINY.read_bytes())
    (tmp_path / "plain.bin").write_bytes(TINY.read_bytes())
    best, plain, named = found(f"{place}/best.safetensors", tmp_path / "plain.bin", f"x={place}/best.safetensors")
    assert [(method.name, method.kind) for method in (best, plain, named)] == [
        ("best", "model"),
        ("plain", "model"),
        ("x", "model"),
    ]
    assert best.identity == plain.identity == named.identity == found("tiny")[0].identity


def test_a_folder_is_a_method_called_like_it(place):
    folder = storage.join(place, "SwinFusion")
    put(folder, "night/1.png")
    assert found(f"{folder}/", f"theirs={folder}") == [
        Method("SwinFusion", "images", folder),
        Method("theirs", "images", folder),
    ]


@pytest.mark.parametrize("form", ["{}/x=1/fused", "./x=1/fused", "~/x=1/fused"])
def test_a_place_may_hold_an_equals_sign(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    put(str(tmp_path / "x=1" / "fused"), "1.png")
    for given, name in ((form.format(tmp_path), "fused"), (f"theirs={form.format(tmp_path)}", "theirs")):
        assert found(given) == [Method(name, "images", str(tmp_path / "x=1" / "fused"))]


def test_methods_are_distinguished_by_what_decides_their_results(tmp_path):
    other = replace(parse_checkpoint(TINY.read_bytes(), "tiny"), name="other")
    (tmp_path / "other.safetensors").write_bytes(other.to_bytes())
    put(str(tmp_path / "fused"), "1.png")
    methods = found("tiny", tmp_path / "other.safetensors", "mean", "max", tmp_path / "fused", f"same={tmp_path}/fused")
    identities = [method.identity for method in methods]
    assert identities[-1] == identities[-2]
    assert len(set(identities)) == len(methods) - 1


def test_a_preset_without_trained_weights_is_refused_with_what_to_do():
    with pytest.raises(UsageError, match=r"'paper'.*weights"):
        found("mean", "paper")


def test_an_untrained_checkpoint_is_refused(tmp_path):
    untrained = replace(parse_checkpoint(TINY.read_bytes(), "tiny"), provenance=Provenance(trained=False))
    (tmp_path / "new.safetensors").write_bytes(untrained.to_bytes())
    with pytest.raises(UsageError, match=r"new\.safetensors'.*untrained"):
        found(tmp_path / "new.safetensors")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "fused.zip").write_bytes(b"PK")
    with pytest.raises(UsageError, match=r"fused\.zip.*checkpoint"):
        found(tmp_path / "fused.zip")
    with pytest.raises(UsageError, match=r"'nowhere\.safetensors'"):
        found("nowhere.safetensors")


def test_what_is_nothing_is_refused_with_what_a_method_may_be(place):
    for given in ("tyni", f"x={place}/nowhere", f"{place}/nowhere"):
        with pytest.raises(UsageError, match=r"--methods") as refused:
            found(given)
        for known in (*BASELINES, "tiny", ".safetensors", "models:/", "folder of fused images"):
            assert known in str(refused.value)


def test_a_store_that_nobody_knows_is_refused():
    with pytest.raises(UsageError, match=r"'nosuch://bucket/x'"):
        found("nosuch://bucket/x")


def test_two_methods_of_one_name_are_refused(tmp_path):
    put(str(tmp_path / "one" / "fused"), "1.png")
    put(str(tmp_path / "two" / "fused"), "1.png")
    for given in (("mean", "max", "mean"), (tmp_path / "one" / "fused", tmp_path / "two" / "fused"), ("x=a", "x=b")):
        with pytest.raises(UsageError, match=r"'(mean|fused|x)'.*NAME=METHOD"):
            found(*given)
