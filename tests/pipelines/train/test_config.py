import pytest
from pydantic import ValidationError

from pipelines.train.config import TrainConfig
from pipelines.train.job import plan_train
from tests.archives import make_archive
from upfusion.losses import LossWeights


def config_of(**settings) -> TrainConfig:
    return TrainConfig(**{"data": ("in",), "out": "out"} | settings)


def test_the_defaults_are_the_papers():
    config = config_of()
    recipe = config.recipe(steps=7)
    assert (config.epochs, config.crop, config.augment) == (100, 192, ("flip",))
    assert (recipe.steps, recipe.learning_rate, recipe.final_learning_rate) == (7, 1e-4, 1e-5)
    assert recipe.loss == LossWeights(intensity=1, gradient=1, structure=0)
    assert (recipe.ema, recipe.clip, recipe.warm_up) == (None, None, 0)


def test_everything_about_the_recipe_reaches_it():
    settings = {"learning_rate": 0.5, "final_learning_rate": 0.25, "warm_up": 3, "clip": 2.0, "ema": 0.9}
    recipe = config_of(**settings, precision="bf16", structure=0.5).recipe(9)
    assert {name: getattr(recipe, name) for name in settings} == settings
    assert recipe.precision == "bf16"
    assert recipe.loss.structure == 0.5


@pytest.mark.parametrize(("given", "expected"), [("4", (4, 4)), (3, (3, 3)), ("2-8", (2, 8))])
def test_workers_are_a_number_or_a_range(given, expected):
    assert config_of(workers=given).worker_range == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": "0"}, "number"),
        ({"workers": "8-2"}, "number"),
        ({"workers": "many"}, "number"),
        ({"workers": "9"}, "--batch 8"),
        ({"preset": "huge"}, "'huge'"),
        ({"augment": "flip,spin"}, "'spin'"),
        ({"alias": "champion"}, "--register-as"),
        ({"register_as": "a/b"}, "/ or :"),
        ({"register_as": "m", "alias": "v2"}, "latest"),
        ({"register_as": "m", "no_tracking": True}, "exclude"),
        ({"start": "tiny", "weights": "w.pth"}, "--weights"),
        ({"without": "gam,head"}, "'head'"),
        ({"start": "tiny", "without": "gam"}, "--without"),
        ({"threads": 0}, "greater than or equal to 1"),
        ({"intensity": 0, "gradient": 0}, "loss"),
        ({"fidelity": 1, "crop": 40}, "--fidelity"),
        ({"teacher": "tiny"}, "--teacher and --imitation"),
        ({"imitation": 1}, "--teacher and --imitation"),
        ({"data": ()}, "at least 1 item"),
        ({"halved": 1.5}, "less than or equal to 1"),
    ],
)
def test_what_cannot_work_is_refused_with_its_reason(settings, message):
    with pytest.raises(ValidationError, match=message):
        config_of(**settings)


def test_augmentations_are_named_with_commas_or_none():
    assert config_of(augment="none").augment == ()
    assert config_of(augment="flip").augment == ("flip",)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ("none", ()),
        ("", ()),
        ("gam", ("gam",)),
        ("text, scpm,gam", ("scpm", "gam", "text")),
        (("tcpm", "scpm"), ("scpm", "tcpm")),
        ("gam,gam", ("gam",)),
    ],
)
def test_parts_to_leave_out_are_named_with_commas_in_any_order(given, parts):
    assert config_of(without=given).without == parts


def test_a_part_left_out_makes_another_result_and_threads_do_not(tmp_path):
    make_archive(tmp_path / "pairs", 3)

    def digest(**settings: object) -> str:
        small = {"data": (str(tmp_path / "pairs"),), "out": str(tmp_path / "out"), "no_tracking": True, "crop": 48}
        return plan_train(config_of(**small | settings)).run["digest"]

    assert digest(threads=2) == digest()
    assert digest(without="gam") != digest()


def test_the_cache_lies_where_the_driver_says_whatever_directory_a_worker_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_of(cache_folder="cache").cache_folder == str(tmp_path / "cache")


def test_what_is_no_part_of_the_result_is_a_setting():
    assert set(TrainConfig.model_fields) > TrainConfig.runtime_only_fields() > {"out", "workers", "threads"}
