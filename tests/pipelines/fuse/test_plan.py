"""What is found out about a fuse job before anything is started."""

import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import ray
import torch

from pipelines.archive.schema import MANIFEST_SCHEMA
from pipelines.cluster.ray_cluster import Cluster
from pipelines.cluster.runner import Progress
from pipelines.errors.exceptions import UsageError
from pipelines.fuse import resume
from pipelines.fuse.allowed import check_others
from pipelines.fuse.config import FuseConfig
from pipelines.fuse.destination import Destination
from pipelines.fuse.job import fuse
from pipelines.fuse.plan import Plan, plan_fuse
from pipelines.storage.lock import DestinationBusyError, locked
from pipelines.storage.ownership import DifferentSettingsError
from tests.archives import make_archive
from tests.upfusion.small_priors import CLIP, TEXT_DIM, encode_by, make_clip, write_clip
from upfusion.checkpoint import EMBEDDED, Checkpoint, Prompt, parse_checkpoint
from upfusion.network import UPFusion

TINY = parse_checkpoint((EMBEDDED / "tiny.safetensors").read_bytes(), "tiny")


def plan(folder: Path, **settings: object) -> Plan:
    make_archive(folder / "in", 2)
    return plan_fuse(FuseConfig(source=str(folder / "in"), out=str(folder / "out"), no_tracking=True, **settings))


def test_how_much_there_is_to_do_is_said_before_ray_starts(tmp_path, monkeypatch):
    heard: list[Progress] = []

    def start(_: Cluster) -> None:
        assert heard == [Progress(2)]
        raise ConnectionError("as far as this goes")

    monkeypatch.setattr(Cluster, "__enter__", start)
    with pytest.raises(ConnectionError, match="as far as this goes"):
        fuse(plan(tmp_path, runner="ray"), heard.append)


@pytest.fixture
def guided_by_clip(tmp_path) -> Path:
    """A checkpoint whose text encoder is a small CLIP, in a folder beside it."""
    config = replace(TINY.config, text_encoder=CLIP, text_dim=TEXT_DIM)
    write_clip(tmp_path / "clip", make_clip())
    bank = {"general": Prompt("Keep all.", encode_by(make_clip(), "Keep all.")[0])}
    checkpoint = replace(TINY, name="mine", config=config, weights=UPFusion(config).state_dict(), prompts=bank)
    (tmp_path / "mine.safetensors").write_bytes(Checkpoint.to_bytes(checkpoint))
    return tmp_path / "mine.safetensors"


def test_a_built_in_prompt_needs_no_encoder(tmp_path):
    assert plan(tmp_path).texts == {("ir_visible", None): TINY.prompts["ir_visible"].embedding.tolist()}
    assert plan(tmp_path, prompt="general").texts == {("ir_visible", None): TINY.prompts["general"].embedding.tolist()}


def test_a_prompt_of_ones_own_is_encoded_on_the_driver(guided_by_clip, tmp_path):
    planned = plan(tmp_path, model=str(guided_by_clip), prompt="Keep the people.", text_encoder=str(tmp_path / "clip"))
    (text,) = planned.texts.values()
    torch.testing.assert_close(torch.tensor(text), encode_by(make_clip(), "Keep the people.")[0])


def test_another_text_encoder_is_refused(guided_by_clip, tmp_path):
    other = write_clip(tmp_path / "other", make_clip(seed=1))
    with pytest.raises(UsageError, match="encoder"):
        plan(tmp_path, model=str(guided_by_clip), prompt="Keep the people.", text_encoder=str(other))


def test_settings_that_change_the_result_belong_to_the_destination(tmp_path):
    digests = {
        plan(tmp_path, **settings).run["digest"]
        for settings in (
            {},
            {"precision": "bf16"},
            {"tile": 512},
            {"tile": 512, "tile_overlap": 32},
            {"balance": 0.5},
            {"color": "keep-luma"},
        )
    }
    assert len(digests) == 6
    # Without tiles there is nothing to overlap, and limits decide no more than which pairs have a result.
    for settings in ({"tile_overlap": 32}, {"max_pixels": 1000, "max_file_mb": 1}):
        assert plan(tmp_path).run["digest"] == plan(tmp_path, **settings).run["digest"]


def test_a_folder_from_before_there_was_a_colour_rule_is_not_mixed_with_one(tmp_path):
    assert "color_of_tasks" not in plan(tmp_path).run["result"]
    # Images of PET and SPECT come out otherwise than before.
    assert plan(tmp_path, task="pet_mri").run["result"]["color_of_tasks"] == {"pet_mri": "keep-luma"}
    assert "color_of_tasks" not in plan(tmp_path, task="pet_mri", color="keep-chroma").run["result"]


def test_a_balance_needs_a_model_that_takes_one(tmp_path):
    config = replace(TINY.config, text_gate=False)
    network = UPFusion(config)
    checkpoint = replace(TINY, name="older", config=config, weights=network.state_dict())
    (tmp_path / "older.safetensors").write_bytes(checkpoint.to_bytes())
    with pytest.raises(UsageError, match=r"older.*balance"):
        plan(tmp_path, model=str(tmp_path / "older.safetensors"), balance=0.5)
    assert plan(tmp_path, model=str(tmp_path / "older.safetensors")).method.name == "older"


@pytest.mark.parametrize("preset", ["paper", "base"])
def test_a_preset_without_trained_weights_is_refused_with_what_to_do(tmp_path, preset):
    with pytest.raises(UsageError, match=rf"'{preset}'.*weights"):
        plan(tmp_path, model=preset)


@pytest.mark.parametrize("uri", ["/etc/passwd", "file:///etc/passwd", "s3://another/1.png", "http://host/1.png"])
def test_pairs_that_somebody_else_put_into_the_destination_are_refused_before_anything_is_read(tmp_path, bucket, uri):
    folder = f"{bucket}/{tmp_path.name}"
    planned = plan(tmp_path, allow=("/data",))
    planned = replace(planned, config=planned.config.model_copy(update={"out": folder}))
    elsewhere = {"pair_id": "x", "a_uri": f"{tmp_path}/in/1.png", "b_uri": uri, "task": "ir_visible", "prompt": None}
    Destination(folder).claim(planned.run)
    Destination(folder).merge_manifest(pa.Table.from_pylist([elsewhere], MANIFEST_SCHEMA))
    ray_was_there = ray.is_initialized()
    with pytest.raises(UsageError, match=rf"{folder}/manifest.parquet.*'x': b_uri.*--allow"):
        fuse(planned)
    assert ray.is_initialized() == ray_was_there


def test_pairs_that_an_earlier_run_found_in_the_source_are_let_through(tmp_path, bucket):
    planned = plan(tmp_path, allow=("/data",))
    rows = [
        {"pair_id": "x", "a_uri": f"{tmp_path}/in/1.png", "b_uri": "/data/1.png", "task": "ir_visible"},
        {"pair_id": "y", "a_uri": f"{bucket}/1.png", "b_uri": f"{tmp_path}/in/deep/1.png", "task": "ir_visible"},
    ]
    check_others(pa.Table.from_pylist(rows, MANIFEST_SCHEMA), planned, Destination(f"{bucket}/{tmp_path.name}"))


def test_shards_and_the_whole_archive_are_not_mixed_in_one_destination(tmp_path):
    whole, half = plan(tmp_path), plan(tmp_path, shard="1/2")
    assert half.run["digest"] == whole.run["digest"]
    Destination(str(tmp_path / "out")).claim(whole.run)
    assert differing_of(half) == {"shards": (None, 2)}
    Destination(str(tmp_path / "shards")).claim(half.run_of_all_shards)
    config = whole.config.model_copy(update={"out": str(tmp_path / "shards")})
    assert differing_of(replace(whole, config=config)) == {"shards": (2, None)}
    third = config.model_copy(update={"shard": "1/3"})
    assert differing_of(replace(half, config=third)) == {"shards": (2, 3)}
    assert {path.name for path in (tmp_path / "shards").iterdir()} == {"run.json"}


def differing_of(planned):
    with pytest.raises(DifferentSettingsError) as refused:
        fuse(planned)
    return refused.value.differing


def test_a_destination_that_another_job_writes_is_left_alone(tmp_path):
    planned = plan(tmp_path)
    with locked(f"{tmp_path}/out", "fuse job"), pytest.raises(DestinationBusyError, match=f"process {os.getpid()} "):
        fuse(planned)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"_lock"}


def test_a_shard_waits_while_another_one_agrees_on_the_settings_of_all(tmp_path, monkeypatch):
    half = plan(tmp_path, shard="1/2")
    monkeypatch.setattr(resume, "SHARD_PATIENCE", 0.1)
    with locked(f"{tmp_path}/out", "fuse job that starts shard 2/2"), pytest.raises(DestinationBusyError, match="2/2"):
        fuse(half)
    with locked(f"{tmp_path}/out/shard-2-of-2", "fuse job"):
        assert resume.claim(half, Destination(half.config.destination), print).ranges == half.ranges
