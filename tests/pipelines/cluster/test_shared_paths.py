import pytest

from pipelines.cluster.shared_paths import check_shared_paths
from pipelines.config.base import JobConfig
from pipelines.errors.exceptions import UsageError
from pipelines.evaluate.config import EvaluateConfig
from pipelines.fuse.config import FuseConfig
from pipelines.train.config import TrainConfig

S3 = "s3://bucket/x"
SHARED = [
    FuseConfig(source="/mnt/shared/in", out=S3),
    FuseConfig(source="file:///mnt/shared/in", out="/mnt/shared/out"),
    TrainConfig(data=(f"{S3}=2", "/mnt/pairs"), val=S3, out=S3),
    EvaluateConfig(sets=(f"night:ir_visible={S3}", "brain=/mnt/pairs"), out=S3),
]
ELSEWHERE = [
    (FuseConfig(source="in", out=S3), "SOURCE 'in'"),
    (FuseConfig(source="~/in", out=S3), "SOURCE '~/in'"),
    (FuseConfig(source=S3, out="./out"), "--out './out'"),
    (TrainConfig(data=(S3, "pairs=2"), out=S3), "DATA 'pairs=2'"),
    (TrainConfig(data=(S3,), val="val", out=S3), "--val 'val'"),
    (EvaluateConfig(sets=(S3, "night=pairs"), out=S3), "SET 'pairs'"),
    (EvaluateConfig(sets=(S3,), out="out"), "--out 'out'"),
]


@pytest.mark.parametrize("config", SHARED)
def test_stores_and_whole_paths_are_for_everybody(config: JobConfig) -> None:
    check_shared_paths(config, remote=True)


@pytest.mark.parametrize(("config", "named"), ELSEWHERE)
def test_a_relative_path_is_refused_on_a_cluster_and_fine_at_home(
    config: JobConfig, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    check_shared_paths(config)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(UsageError, match=rf"{named}.*folder"):
        check_shared_paths(config)
