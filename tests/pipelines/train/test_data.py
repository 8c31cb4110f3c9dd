import hashlib
import re
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.archive.splits import TRAIN, VAL
from pipelines.errors.exceptions import JobStoppedError, UsageError
from pipelines.errors.failures import STORE_LOST
from pipelines.sources.preparation import Preparation
from pipelines.train.config import TrainConfig
from pipelines.train.data import TrainingPairs, _check, check_known, check_pairs, find_pairs, refuse_bad, stop_if_lost
from tests.archives import make_archive, make_pair


def config_of(*data, **settings) -> TrainConfig:
    return TrainConfig(data=tuple(map(str, data)), out="out", **settings)


def found(*data, **settings) -> dict[str, str]:
    return {row["pair_id"]: row["split"] for row in find_pairs(config_of(*data, **settings)).to_pylist()}


def make_llvip(root: Path, train: int, **others: int) -> Path:
    """LLVIP's layout: visible/train/NAME, infrared/train/NAME."""
    for split, count in {"train": train, **others}.items():
        for number in range(count):
            make_pair(root, f"{split}/{number:03d}", seed=number)
    return root


@pytest.fixture(scope="module")
def llvip(tmp_path_factory) -> Path:
    return make_llvip(tmp_path_factory.mktemp("data") / "llvip", train=20, test=3)


# What is for what


def test_of_llvip_the_training_pairs_are_taken_and_the_last_of_them_held_out(llvip):
    splits = found(llvip, val_share=0.1)
    assert list(splits.values()) == [TRAIN] * 18 + [VAL] * 2
    assert [pair_id for pair_id in splits if splits[pair_id] == VAL] == ["llvip/train/018", "llvip/train/019"]
    assert set(found(llvip, val_share=0).values()) == {TRAIN}


def test_a_folder_val_validates_and_nothing_is_held_out(tmp_path):
    splits = found(make_llvip(tmp_path / "mine", train=4, val=2, test=2))
    assert splits == {f"mine/train/00{n}": TRAIN for n in range(4)} | {f"mine/val/00{n}": VAL for n in range(2)}


def test_pairs_given_to_validate_with_leave_the_others_to_train_on(llvip, tmp_path):
    other = make_llvip(tmp_path / "other", train=2, val=3)
    splits = found(llvip, val=str(other))
    assert list(splits.values()).count(TRAIN) == 20
    assert {pair_id for pair_id in splits if splits[pair_id] == VAL} == {f"val other/val/00{n}" for n in range(3)}
    # Without a folder val, what is for training validates nothing.
    splits = found(tmp_path / "other", val=str(llvip))
    assert {pair_id for pair_id in splits if splits[pair_id] == VAL} == {f"val llvip/test/00{n}" for n in range(3)}


def test_at_most_so_many_pairs_validate_spread_over_all(llvip):
    splits = found(llvip, val_share=0.5, val_pairs=3)
    assert [pair_id[-3:] for pair_id in splits if splits[pair_id] == VAL] == ["010", "013", "016"]
    assert list(splits.values()).count(TRAIN) == 10


def test_roots_have_weights_and_names_of_their_own(tmp_path):
    make_archive(tmp_path / "one" / "pairs", 2)
    make_archive(tmp_path / "two" / "pairs", 1)
    make_archive(tmp_path / "three", 1)
    config = config_of(f"{tmp_path}/one/pairs=2", tmp_path / "two" / "pairs", f"{tmp_path}/three=0.5", val_share=0)
    rows = find_pairs(config).to_pylist()
    assert {row["pair_id"]: row["weight"] for row in rows} == {
        "pairs#1/street_000": 2.0,
        "pairs#1/street_001": 2.0,
        "pairs#2/street_000": 1.0,
        "three/street_000": 0.5,
    }


def test_a_manifest_is_a_root(tmp_path):
    make_archive(tmp_path, 2)
    lines = ["pair_id,a_uri,b_uri,task,prompt", "x,visible/street_000.png,infrared/street_000.png,nir_visible,general"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    (row,) = find_pairs(config_of(tmp_path / "list.csv", val_share=0)).to_pylist()
    assert (row["pair_id"], row["task"], row["prompt"]) == ("list/x", "nir_visible", "general")


@pytest.mark.parametrize(
    ("data", "message"),
    [("missing", "^DATA .*/missing does not exist$"), ("llvip=0", "weight")],
)
def test_roots_that_give_nothing_are_refused_by_name(llvip, data, message):
    with pytest.raises(UsageError, match=message):
        find_pairs(config_of(llvip.parent / data))


# What can be used


@pytest.fixture(scope="module")
def checked(tmp_path_factory, ray_here) -> tuple[Path, TrainingPairs, list[tuple[int, int]]]:  # noqa: ARG001
    """Pairs of which one is as it should be and each of the others is not, in its own way."""
    folder = tmp_path_factory.mktemp("bad") / "set"
    make_archive(folder, 5)
    make_pair(folder, "street_001", size=(64, 30))
    (folder / "visible" / "street_002.png").write_bytes((folder / "visible" / "street_002.png").read_bytes()[:900])
    make_pair(folder, "other", size=(80, 48))
    (folder / "infrared" / "street_003.png").write_bytes((folder / "infrared" / "other.png").read_bytes())
    (folder / "infrared" / "street_004.png").write_bytes(b"")
    for sensor in ("visible", "infrared"):
        (folder / sensor / "other.png").unlink()
    heard: list[tuple[int, int]] = []
    config = config_of(folder, val_share=0, crop=32)
    pairs = check_pairs(find_pairs(config), config, lambda done, total: heard.append((done, total)))
    return folder, pairs, heard


def test_every_pair_that_cannot_be_used_says_why_by_name(checked):
    _, pairs, heard = checked
    assert heard[0] == (0, 5)
    assert heard[-1] == (5, 5)
    assert [row["pair_id"] for row in pairs.of(TRAIN)] == ["set/street_000"]
    errors = {row["error_code"]: row["error"] for row in pairs.bad}
    assert set(errors) == {"smaller_than_crop", "truncated_image", "size_mismatch", "empty_file"}
    assert re.search(r"set/street_001\b.*64x30.*\b32\b.*--crop", errors["smaller_than_crop"])
    assert re.search(r"set/street_003\b.*\bA\b.*64x48.*\bB\b.*80x48", errors["size_mismatch"])
    assert "street_004.png" in errors["empty_file"]


def test_what_can_be_used_is_described(checked):
    folder, pairs, _ = checked
    (row,) = pairs.of(TRAIN)
    assert (row["width"], row["height"]) == (64, 48)
    data = (folder / "visible" / "street_000.png").read_bytes()
    assert row["a_sha256"] == hashlib.sha256(data).hexdigest()
    assert pairs.roots == {"set": 1}


def test_bad_pairs_are_refused_or_skipped_as_asked(checked):
    folder, pairs, _ = checked
    with pytest.raises(UsageError, match=r"(?s)\b4\b.*\b5\b.*street_002.*--bad-data skip"):
        refuse_bad(pairs, config_of(folder))
    refuse_bad(pairs, config_of(folder, bad_data="skip"))
    with pytest.raises(UsageError, match="--crop 16"):  # the smallest is 64x30
        refuse_bad(pairs, config_of(folder))
    none = TrainingPairs(pa.Table.from_pylist(pairs.bad, pairs.table.schema))
    with pytest.raises(UsageError, match="street_002"):
        refuse_bad(none, config_of(folder, bad_data="skip"))


def test_a_store_that_is_away_is_no_bad_pair_that_could_be_skipped(checked):
    _, pairs, _ = checked
    stop_if_lost(pairs.table)
    lost = pairs.table.to_pylist()[:1]
    lost[0] |= {"error_code": STORE_LOST, "error": "s3://b/x cannot be read: its store does not respond"}
    with pytest.raises(JobStoppedError):
        stop_if_lost(pa.Table.from_pylist(lost, pairs.table.schema))


def test_the_digest_is_of_what_the_pairs_hold_and_not_of_where_they_lie(checked):
    _, pairs, _ = checked
    rows = pairs.table.to_pylist()

    def digest(**changes) -> str:
        return TrainingPairs(pa.Table.from_pylist([row | changes for row in rows], pairs.table.schema)).digest

    assert digest() == digest(a_uri="elsewhere") == pairs.digest
    assert len({digest(), digest(a_sha256="x"), digest(weight=2.0), digest(task="ct_mri"), digest(split=VAL)}) == 5


@pytest.mark.parametrize(
    ("uri", "settings", "refused"),
    [
        ("/data/llvip/1.png", {}, False),
        ("s3://bucket/1.png", {}, False),
        ("/data/tno/1.png", {"val": "/data/tno"}, False),
        ("/data/more/1.png", {"allow": ("/data/more",)}, False),
        ("/data/more/1.png", {}, True),
        ("s3://another/1.png", {}, True),
        ("http://host/1.png", {}, True),
    ],
)
def test_a_run_resumes_with_pairs_that_lie_where_it_was_told_alone(uri, settings, refused):
    rows = [{"pair_id": "x", "a_uri": "/data/llvip/1.png", "b_uri": uri, "root": "llvip"}]
    pairs = TrainingPairs(pa.Table.from_pylist(rows))
    config = config_of("/data/llvip=2", **settings)
    if refused:
        with pytest.raises(UsageError, match=r"s3://bucket/run/data.parquet.*'x': b_uri.*--allow"):
            check_known(pairs, "s3://bucket/run/data.parquet", config)
    else:
        assert check_known(pairs, "s3://bucket/run/data.parquet", config) is pairs


@pytest.mark.parametrize("limit", [{"max_pixels": 64 * 48 - 1}, {"max_bytes": 100}])
def test_images_larger_than_the_limits_cannot_be_used(tmp_path, limit):
    make_archive(tmp_path / "set", 1)
    config = config_of(tmp_path / "set", val_share=0, crop=32)
    limits = {"max_pixels": config.max_pixels, "max_bytes": config.max_bytes, "preparation": Preparation()}
    found = find_pairs(config)
    assert _check(found, 32, **limits)["error_code"].to_pylist() == [None]
    assert _check(found, 32, **limits | limit)["error_code"].to_pylist() == ["too_large"]
