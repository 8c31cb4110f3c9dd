import pytest
from pydantic import ValidationError

from pipelines.ablate.config import AblateConfig
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage

ALL = ["full", "without-scpm", "without-gam", "without-tcpm", "without-text"]


def config_of(**settings) -> AblateConfig:
    return AblateConfig(**{"sets": ("in",), "out": "out", "data": ("pairs",)} | settings)


def test_by_default_every_part_is_left_out_once_and_the_full_network_comes_first():
    assert config_of().names == ALL


def test_parts_are_in_the_order_of_the_network_whatever_was_said():
    config = config_of(parts="text, scpm,text")
    assert config.parts == ("scpm", "text")
    assert config.names == ["full", "without-scpm", "without-text"]


def test_variants_that_are_trained_are_given_by_name():
    config = config_of(parts="gam", data=(), variants="full=s3://bucket/x=1.safetensors,without-gam=b.safetensors")
    assert config.trained == {"full": "s3://bucket/x=1.safetensors", "without-gam": "b.safetensors"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parts": "head"}, "'head'"),
        ({"parts": "gam,without-gam"}, "'without-gam'"),
        ({"variants": "without-head=x"}, "--variants: 'without-head' is none of full, without-scpm"),
        ({"parts": "gam", "variants": "without-text=x"}, "'without-text' is none of full, without-gam"),
        ({"data": ()}, r"--data .*without-gam.*--variants"),
        ({"sets": ()}, "at least 1 item"),
        ({"metrics": "none"}, "metric"),
        ({"methods": "tiny"}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(settings, message):
    with pytest.raises(ValidationError, match=message):
        config_of(**settings)


def test_a_variant_is_trained_without_its_part_and_otherwise_like_the_paper():
    config = config_of(val="more", experiment="parts", tracking_uri="http://there")
    full, textless = config.training("full", "runs/full"), config.training("without-text", "runs/text")
    assert (full.without, full.out) == ((), "runs/full")
    assert (textless.without, textless.out) == (("text",), "runs/text")
    assert (full.data, full.val, full.epochs, full.crop) == (("pairs",), "more", 100, 192)
    assert (full.experiment, full.tracking_uri, full.no_tracking) == ("parts", "http://there", False)
    assert config_of(no_tracking=True).training("full", "out").no_tracking
    assert full.model_dump(exclude={"without", "out"}) == textless.model_dump(exclude={"without", "out"})


def test_a_recipe_says_how_all_variants_are_trained(place):
    uri = storage.join(place, "recipe.yaml")
    storage.write_bytes(uri, b"epochs: 2\nlearning-rate: 0.5\nfinal_learning_rate: 0.25\naugment: [flip]\n")
    for name in ALL:
        run = config_of(recipe=uri).training(name, "out")
        assert (run.epochs, run.learning_rate, run.final_learning_rate) == (2, 0.5, 0.25)
        assert (run.data, run.out) == (("pairs",), "out")


def test_what_an_ablation_decides_no_recipe_changes(place):
    uri = storage.join(place, "recipe.yaml")
    storage.write_bytes(uri, b"without: gam\ndata: others\nout: elsewhere\nexperiment: another\n")
    run = config_of(recipe=uri).training("without-text", "out")
    assert (run.without, run.data, run.out, run.experiment) == (("text",), ("pairs",), "out", "upfusion")


def test_an_empty_recipe_says_nothing(tmp_path):
    (tmp_path / "recipe.yaml").write_text("# nothing yet\n")
    config = config_of(recipe=str(tmp_path / "recipe.yaml"))
    assert config.training("full", "out") == config_of().training("full", "out")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"epoch: 2\n", "epoch: Extra inputs are not permitted"),
        (b"epochs: many\n", "epochs: Input should be a valid number"),
        (b"preset: huge\n", "preset.*'huge'"),
        (b"workers: 9\n", "--batch 8"),
        (b"- epochs\n", "`upfusion train`"),
        (b"just text\n", "`upfusion train`"),
        (b"epochs: [2\n", "--recipe"),
        (b"terms: caf\xe9\n", "--recipe"),
        (b"epochs: !!python/object/apply:os.system ['true']\n", "--recipe"),
    ],
)
def test_a_wrong_recipe_is_refused_by_its_name_and_the_option(tmp_path, data, message):
    uri = str(tmp_path / "recipe.yaml")
    (tmp_path / "recipe.yaml").write_bytes(data)
    with pytest.raises(UsageError, match=message) as refused:
        config_of(recipe=uri).training("full", "out")
    assert str(refused.value).startswith(f"--recipe {uri}")


def test_a_recipe_that_starts_from_a_checkpoint_leaves_nothing_out(tmp_path):
    (tmp_path / "recipe.yaml").write_text("start: tiny\n")
    config = config_of(recipe=str(tmp_path / "recipe.yaml"))
    assert config.training("full", "out").start == "tiny"
    with pytest.raises(UsageError, match="--without"):
        config.training("without-gam", "out")


def test_a_recipe_that_is_not_there_is_named(place):
    uri = storage.join(place, "nowhere.yaml")
    with pytest.raises(UsageError, match="--recipe") as refused:
        config_of(recipe=uri).training("full", "out")
    assert f"--recipe {uri}" in str(refused.value)
