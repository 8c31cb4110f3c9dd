import pytest

from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.sets import EvaluationSet, find_sets
from pipelines.storage import objects as storage
from tests.archives import make_archive, make_pair


def one_set(given: object, limit: int | None = None) -> EvaluationSet:
    (found,) = find_sets((str(given),), limit)
    return found


def test_a_set_is_called_like_its_folder_and_holds_its_pairs(tmp_path):
    ids = make_archive(tmp_path / "LLVIP", 3)
    found = one_set(f"{tmp_path}/LLVIP/")
    assert (found.name, found.place, found.folder) == ("LLVIP", f"{tmp_path}/LLVIP", f"{tmp_path}/LLVIP")
    assert (found.ids, found.tasks, found.unpaired, found.others) == (ids, "ir_visible", [], frozenset())


@pytest.mark.parametrize(
    ("before", "name", "tasks"),
    [
        ("streets=", "streets", "ir_visible"),
        (" night streets =", "night streets", "ir_visible"),
        ("streets:nir_visible=", "streets", "nir_visible"),
        ("ü-1:ct_mri=", "ü-1", "ct_mri"),
    ],
)
def test_a_set_is_named_and_its_kind_of_pairs_said(tmp_path, before, name, tasks):
    make_archive(tmp_path / "in", 1)
    found = one_set(f"{before}{tmp_path}/in")
    assert (found.name, found.tasks, found.place) == (name, tasks, f"{tmp_path}/in")


@pytest.mark.parametrize("form", ["{}/x=1/archive", "file://{}/x=1/archive", "./x=1/archive", "~/x=1/archive"])
def test_a_place_may_hold_an_equals_sign(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    make_archive(tmp_path / "x=1" / "archive", 1)
    found = one_set(form.format(tmp_path))
    assert (found.name, found.place) == ("archive", f"{tmp_path}/x=1/archive")


def test_a_named_place_may_hold_an_equals_sign_too(tmp_path):
    make_archive(tmp_path / "x=1", 1)
    found = one_set(f"streets={tmp_path}/x=1")
    assert (found.name, found.place) == ("streets", f"{tmp_path}/x=1")


def test_a_set_lies_in_an_object_store(tmp_path, bucket):
    make_archive(tmp_path, 2)
    for path in tmp_path.rglob("*.png"):
        storage.write_bytes(f"{bucket}/x=1/night/{path.relative_to(tmp_path)}", path.read_bytes())
    found = one_set(f"{bucket}/x=1/night")
    assert (found.name, found.place, len(found.ids)) == ("night", f"{bucket}/x=1/night", 2)


def test_of_a_set_with_a_test_split_only_that_is_taken(tmp_path):
    for split in ("train", "val", "test"):
        for name in ("1", "2"):
            make_pair(tmp_path / split, name)
    make_pair(tmp_path, "3")
    found = one_set(tmp_path)
    assert found.ids == ["test/1", "test/2"]
    assert found.others == {"3", "train/1", "train/2", "val/1", "val/2"}


def test_a_set_with_other_splits_alone_is_taken_whole(tmp_path):
    make_pair(tmp_path / "train", "1")
    make_pair(tmp_path / "val", "1")
    assert one_set(tmp_path).ids == ["train/1", "val/1"]


def test_a_limit_takes_the_first_pairs_of_every_set_and_of_the_split(tmp_path):
    ids = make_archive(tmp_path / "streets", 3)
    for name in ("train/1", "test/2", "test/1", "test/3"):
        make_pair(tmp_path / "split" / name[:-2], name[-1])
    streets, split = find_sets((f"{tmp_path}/streets", f"{tmp_path}/split"), 2)
    assert (streets.ids, streets.others) == (ids[:2], {ids[2]})
    assert (split.ids, split.others) == (["test/1", "test/2"], {"test/3", "train/1"})


def test_images_without_a_partner_are_listed(tmp_path):
    make_archive(tmp_path, 2)
    (tmp_path / "infrared" / "street_001.png").unlink()
    assert one_set(tmp_path).unpaired == [f"{tmp_path}/visible/street_001.png"]


@pytest.mark.parametrize("suffix", ["csv", "CSV"])
def test_a_manifest_is_a_set_called_like_it_in_its_folder(tmp_path, suffix):
    make_archive(tmp_path, 2)
    manifest = tmp_path / f"chosen.{suffix}"
    manifest.write_text("pair_id,a_uri,b_uri\nx,visible/street_001.png,infrared/street_001.png\n")
    found = one_set(manifest)
    assert (found.name, found.place, found.folder) == ("chosen", str(manifest), str(tmp_path))
    assert found.pairs["a_uri"].to_pylist() == [f"{tmp_path}/visible/street_001.png"]
    assert one_set(f"streets:nir_visible={manifest}").tasks == "nir_visible"


def test_the_kinds_of_a_mixed_set_are_all_named(tmp_path):
    for folder, sensors in (("1", ("ct", "mri")), ("2", ("pet", "mri"))):
        make_pair(tmp_path / folder, "x")
        (tmp_path / folder / "visible").rename(tmp_path / folder / sensors[0])
        (tmp_path / folder / "infrared").rename(tmp_path / folder / sensors[1])
    assert one_set(tmp_path).tasks == "ct_mri, pet_mri"


def test_an_unknown_task_is_refused_with_the_known_ones(tmp_path):
    make_archive(tmp_path, 1)
    with pytest.raises(UsageError, match=r"'x:ct=.*'ct'.*ir_visible, ct_mri"):
        one_set(f"x:ct={tmp_path}")


def test_two_sets_of_one_name_are_refused(tmp_path):
    for folder in ("day", "night"):
        make_archive(tmp_path / folder / "test", 1)
    with pytest.raises(UsageError, match=r"'test'.*NAME=PLACE"):
        find_sets((f"{tmp_path}/day/test", f"{tmp_path}/night/test"), None)
    named = find_sets((f"day={tmp_path}/day/test", f"night={tmp_path}/night/test"), None)
    assert [one.name for one in named] == ["day", "night"]


def test_a_place_without_pairs_is_refused_as_a_set(tmp_path, place):
    with pytest.raises(UsageError) as refused:
        one_set(f"x={place}/nowhere")
    assert str(refused.value).startswith(f"set {place}/nowhere")
    (tmp_path / "1.png").touch()
    with pytest.raises(UsageError, match=f"{tmp_path}"):
        one_set(tmp_path)
    with pytest.raises(UsageError, match=rf"{tmp_path}/1.png"):
        one_set(tmp_path / "1.png")
