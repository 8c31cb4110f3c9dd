"""Which fields of a configuration affect the result of a job."""

from pydantic import Field

from pipelines.ablate.config import AblateConfig
from pipelines.archive.config import ArchiveConfig
from pipelines.config.fields import RuntimeOnly
from pipelines.evaluate.config import EvaluateConfig
from pipelines.fuse.config import FuseConfig
from pipelines.train.config import TrainConfig

FUSE = {"source": "in", "out": "out"}
MODELS = [ArchiveConfig, FuseConfig, TrainConfig, EvaluateConfig, AblateConfig]


class Extended(FuseConfig):
    """A fuse job with one option more of either kind."""

    sharpen: float = Field(0.0, description="Affects the result.")
    colour_log: RuntimeOnly[bool] = Field(False, description="Does not.")


def test_a_new_field_affects_the_result_unless_it_is_declared_runtime_only():
    assert Extended(**FUSE).result_settings() == FuseConfig(**FUSE).result_settings() | {"sharpen": 0.0}
    assert Extended(**FUSE, sharpen=0.5).result_settings()["sharpen"] == 0.5
    assert Extended.runtime_only_fields() - FuseConfig.runtime_only_fields() == {"colour_log"}
    assert Extended.result_defaults()["sharpen"] == 0.0


def test_where_and_how_fast_a_job_runs_does_not_affect_its_result():
    settings = FuseConfig(**FUSE).result_settings()
    elsewhere = {
        "source": "there",
        "out": "s3://b/x",
        "actors": 2,
        "gpus_per_actor": 0,
        "no_tracking": True,
        "limit": 3,
    }
    assert FuseConfig(**elsewhere).result_settings() == settings
    for changed in ({"model": "base"}, {"metrics": "vif"}, {"images": "both"}, {"tile": 512}, {"offset": "auto"}):
        assert FuseConfig(**FUSE, **changed).result_settings() != settings
    assert FuseConfig(**FUSE, tile_overlap=32).result_settings() == settings  # without tiles there is no overlap


def test_settings_are_json_and_defaults_have_the_same_names():
    assert FuseConfig(**FUSE, metrics="vif").result_settings()["metrics"] == ["vif"]
    for model in MODELS:
        assert set(model.result_defaults()) == set(model.model_fields) - model.runtime_only_fields()


def test_every_field_of_every_job_has_a_description():
    for model in MODELS:
        assert [name for name, info in model.model_fields.items() if not info.description] == []
