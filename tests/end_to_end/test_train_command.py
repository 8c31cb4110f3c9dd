"""Training as a person types it: a driver that is killed with everything it started, and the same command again."""

import os
import signal
import time
from pathlib import Path

import pytest

from pipelines import storage
from pipelines.run_folder import RunFolder
from tests.archives import make_archive
from tests.processes import start_job
from tests.training import SETTINGS, make_start, train_mini

pytestmark = [pytest.mark.slow, pytest.mark.extended]

STEPS, LAST = 24, "step_0000024/state.safetensors"


@pytest.mark.usefixtures("ray_here")
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    make_archive(tmp_path / "pairs", 30)
    begin = str(make_start(tmp_path / "start.safetensors"))
    flags = [word for name, value in SETTINGS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [
        "train",
        str(tmp_path / "pairs"),
        "--out",
        str(tmp_path / "killed"),
        "--start",
        begin,
        "--no-tracking",
        *flags,
    ]

    process = start_job(*command)
    checkpoints = tmp_path / "killed" / "checkpoints"
    deadline = time.monotonic() + 200
    while not list(checkpoints.glob("step_*/state.safetensors")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (checkpoints / LAST).exists()

    process = start_job(*command)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "24 pairs to train on, 6 to validate with; 24 steps" in said
    assert f"step {STEPS} / {STEPS}" in said
    assert "vif_balanced" in said
    assert not [line for line in said.splitlines() if "ray" in line.lower() or "Warning" in line or "Traceback" in line]

    train_mini(tmp_path / "pairs", tmp_path / "whole", start=begin)
    assert (checkpoints / LAST).read_bytes() == (tmp_path / "whole" / "checkpoints" / LAST).read_bytes()
    killed, whole = RunFolder(str(tmp_path / "killed")), RunFolder(str(tmp_path / "whole"))
    assert storage.read_bytes(killed.model) == storage.read_bytes(whole.model)
