"""Whatever of a training run in a store is killed, the same command again ends in the same bytes."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.storage import objects as storage
from pipelines.train.folder import RunFolder
from tests.archives import make_archive
from tests.chaos.killing import Killer, Strike, kill_driver, kill_node, kill_titled, plan_kills
from tests.processes import start_job
from tests.tally import COUNTED
from tests.training import SETTINGS, make_start

pytestmark = [pytest.mark.slow, pytest.mark.extended]

STEPS = 48
VICTIMS: dict[str, Strike] = {
    "worker": kill_titled("ray::RayTrainWorker"),
    "driver": kill_driver,
    "node": kill_node,
}


@pytest.fixture(scope="module", autouse=True)
def quick_reports() -> Any:
    """Ray Train looks for reports every two seconds, which is longer than these runs have for a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`pairs/`, `start.safetensors` and `whole/`, a run that nothing happened to."""
    folder = tmp_path_factory.mktemp("training")
    make_archive(folder / "pairs", 30)
    make_start(folder / "start.safetensors")
    process = start_job(*command(folder, folder / "pairs", folder / "whole"))
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert re.search(rf"^24 .*\b6 .*\b{STEPS} steps", said, re.MULTILINE)
    assert f"step {STEPS} / {STEPS}" in said
    assert "vif_balanced" in said
    assert not [line for line in said.splitlines() if "ray" in line.lower() or "Warning" in line or "Traceback" in line]
    return folder


def command(folder: Path, pairs: object, out: object) -> list[object]:
    settings = SETTINGS | {"epochs": 8.0, "start": folder / "start.safetensors", "cache_folder": folder / "cache"}
    flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", value)]
    return ["train", pairs, "--out", out, "--no-tracking", *flags]


def share_of_steps(run: RunFolder) -> float:
    steps = [int(found[1]) for uri in storage.list_files(run.checkpoints) if (found := re.search(r"/step_(\d+)/", uri))]
    return max(steps, default=0) / STEPS


@pytest.mark.parametrize("seed", [0, 2])  # between them they kill everything, and begin with different victims
def test_kills_at_random(seed: int, folder: Path, object_store: Any) -> None:
    bucket = object_store.new_bucket()
    for file in (folder / "pairs").rglob("*.png"):
        storage.write_bytes(f"{bucket}/{file.relative_to(folder)}", file.read_bytes())
    run, whole = RunFolder(f"{bucket}/run"), RunFolder(str(folder / "whole"))
    killer = Killer(command(folder, f"{bucket}/pairs", run.uri), lambda: share_of_steps(run), VICTIMS, seed)
    ended = killer.run(plan_kills(seed, list(VICTIMS)))
    assert ended.code == 0
    assert ended.killed
    COUNTED.update(f"kills: {victim} of a training run" for victim in ended.killed)
    last = f"step_{STEPS:07d}/state.safetensors"
    states = [storage.read_bytes(storage.join(one.checkpoints, last)) for one in (run, whole)]
    models = [storage.read_bytes(one.model) for one in (run, whole)]
    COUNTED["training runs compared"] += 1
    COUNTED["training runs that ended otherwise"] += states[0] != states[1] or models[0] != models[1]
    assert states[0] == states[1]
    assert models[0] == models[1]
