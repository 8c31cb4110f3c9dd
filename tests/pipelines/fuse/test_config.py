import pytest
from pydantic import ValidationError

from pipelines.archive.config import ArchiveConfig
from pipelines.fuse.config import FuseConfig
from upfusion.metrics import DEFAULT_METRICS, METRICS
from upfusion.tiles import Tiles


def config(**settings: object) -> FuseConfig:
    return FuseConfig(**{"source": "in", "out": "out", **settings})


def refusal(**settings: object) -> str:
    with pytest.raises(ValidationError) as refused:
        config(**settings)
    return "; ".join(f"{error['loc']}: {error['msg']}" for error in refused.value.errors())


def test_two_places_are_all_that_has_to_be_said():
    plain = FuseConfig(source="in", out="out")
    assert (plain.model, plain.metrics, plain.images, plain.format) == ("tiny", DEFAULT_METRICS, "parquet", "png")
    assert (plain.max_failed, plain.retry_failed, plain.no_tracking) == (1.0, False, False)
    with pytest.raises(ValidationError, match="out"):
        FuseConfig(source="in")
    with pytest.raises(ValidationError, match="source"):
        FuseConfig(out="out")


def test_tiles_are_only_used_when_asked_for():
    assert config().tiles is None
    assert config(tile=512, tile_overlap=100).tiles == Tiles(side=512, overlap=100)


def test_every_option_has_a_description():
    assert all(field.description for field in FuseConfig.model_fields.values())


@pytest.mark.parametrize(
    ("given", "metrics"),
    [
        ("vif", ("vif",)),
        ("ssim,vif", ("vif", "ssim")),
        (["en", "vif"], ("vif", "en")),
        (("vif", "vif"), ("vif",)),
        ("none", ()),
        (["none"], ()),
        ([], ()),
        ("all", tuple(METRICS)),
        ("default", tuple(name for name in METRICS if name != "qp")),
    ],
)
def test_metrics_are_chosen_in_one_order_however_they_are_given(given, metrics):
    assert config(metrics=given).metrics == metrics


@pytest.mark.parametrize("given", ["vif,psnrr", ["psnrr"], "none,psnrr"])
def test_an_unknown_metric_is_named_beside_the_known_ones(given):
    assert "vif_a" in refusal(metrics=given)
    assert ("'none'" if given == "none,psnrr" else "'psnrr'") in refusal(metrics=given)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": "ct"}, "ir_visible, ct_mri"),
        ({"tile": 64, "tile_overlap": 33}, "overlap"),
        ({"tile": 15}, "greater than or equal to 16"),
        ({"precision": "fp16"}, "'fp32' or 'bf16'"),
        ({"a": "x/*"}, "--a and --b"),
        ({"b": "x/*"}, "--a and --b"),
        *(({"shard": words}, "I/N") for words in ("0/4", "5/4", "1/0", "1", "a/b", "-1/4")),
        ({"limit": 0}, "('limit',): Input should be greater than or equal to 1"),
        ({"actors": 0}, "('actors',): Input should be greater than or equal to 1"),
        ({"gpus_per_actor": -1}, "('gpus_per_actor',): Input should be greater than or equal to 0"),
        ({"gpus_per_actor": 1.5}, "1.5"),
        ({"max_failed": 1.1}, "('max_failed',): Input should be less than or equal to 1"),
        ({"max_failed": float("nan")}, "('max_failed',)"),
        ({"max_pixels": 0}, "('max_pixels',): Input should be greater than or equal to 1"),
        ({"max_pixels": 178_956_971}, "('max_pixels',): Input should be less than or equal to 178956970"),
        ({"max_file_mb": 0}, "('max_file_mb',): Input should be greater than or equal to 1"),
        ({"images": "none"}, "'parquet', 'files' or 'both'"),
        ({"format": "jpg"}, "'png', 'jpeg', 'webp' or 'tiff'"),
        ({"metrics": 5}, "('metrics',)"),
        ({"formats": "png"}, "('formats',): Extra inputs are not permitted"),
    ],
)
def test_a_wrong_value_is_refused(settings, said):
    assert said in refusal(**settings)


@pytest.mark.parametrize("gpus", [0, 0.25, 1, 2])
def test_a_copy_takes_a_share_of_a_gpu_or_whole_ones(gpus):
    assert config(gpus_per_actor=gpus).gpus_per_actor == gpus


def test_a_configuration_does_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        config().out = "elsewhere"


def test_a_fuse_job_takes_every_option_of_an_archive():
    archive = ArchiveConfig(source="in", a="x/*", b="y/*", task="ct_mri", limit=3)
    assert config(**archive.model_dump()).model_dump(include=set(ArchiveConfig.model_fields)) == archive.model_dump()


def test_a_shard_has_a_folder_of_its_own_below_the_destination():
    assert config(out="s3://b/out/").destination == "s3://b/out/"
    assert config(out="s3://b/out/", shard="3/16").destination == "s3://b/out/shard-3-of-16"
