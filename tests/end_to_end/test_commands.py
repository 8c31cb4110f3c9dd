"""The commands as a person types them: in a process of their own, with a Ray of their own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.archives import make_archive
from tests.end_to_end.test_fuse_archive import rows_of

pytestmark = pytest.mark.slow


def start(job: str, *arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", f"jobs.{job}", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(job: str, *arguments: object) -> tuple[int, str]:
    process = start(job, *arguments)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


def wait_for_rows(out: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not list((out / "pairs").glob("*.parquet")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_dirty_archive_ends_with_a_table_the_report_and_exit_code_3(tmp_path: Path) -> None:
    make_archive(tmp_path / "in", 3)
    (tmp_path / "in" / "visible" / "street_001.png").write_text("not an image")
    (tmp_path / "in" / "infrared" / "street_002.png").unlink()

    code, said = finish("fuse", tmp_path / "in", "--out", tmp_path / "out", "--no-tracking", "--metrics", "vif")

    assert code == 3, said
    assert "1 images have no partner" in said
    assert "street_002.png" in said
    assert "1 of 2 pairs fused, 1 failed" in said
    assert "report.html" in said
    assert "Visual information fidelity" in said
    # Nothing but our own words: no word of Ray, no warning, no traceback.
    assert not [line for line in said.splitlines() if "ray" in line.lower() or "Warning" in line or "Traceback" in line]


def test_a_wrong_request_starts_nothing_and_ends_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, said = finish("fuse", tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 2
    assert "no pairs" in said
    assert "--a PATTERN --b PATTERN" in said
    assert not (tmp_path / "out").exists()


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(tmp_path: Path) -> None:
    ids = make_archive(tmp_path / "in", 24, size=(320, 240))
    command = ("fuse", tmp_path / "in", "--out", tmp_path / "out", "--no-tracking", "--metrics", "none")
    process = start(*command)
    wait_for_rows(tmp_path / "out", process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command again goes on" in said
    assert "Traceback" not in said
    done = {row["pair_id"] for row in rows_of(tmp_path / "out")}
    assert 0 < len(done) < 24
    assert not (tmp_path / "out" / "_SUCCESS.json").exists()

    code, said = finish(*command)
    assert code == 0, said
    assert [row["pair_id"] for row in rows_of(tmp_path / "out")] == ids


def test_a_killed_job_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    ids = make_archive(tmp_path / "in", 24, size=(320, 240))
    command = (
        "fuse",
        tmp_path / "in",
        "--out",
        tmp_path / "out",
        "--no-tracking",
        "--metrics",
        "none",
        "--images",
        "both",
    )
    process = start(*command)
    wait_for_rows(tmp_path / "out", process)
    process.kill()
    process.communicate()

    code, said = finish(*command)
    assert code == 0, said
    rows = rows_of(tmp_path / "out")
    assert [row["pair_id"] for row in rows] == ids
    assert {row["status"] for row in rows} == {"ok"}
    assert len(list((tmp_path / "out" / "images").glob("*.png"))) == 24


def test_the_demo_fuses_what_it_draws_and_says_where_to_look(tmp_path: Path) -> None:
    code, said = finish("demo", "--out", tmp_path / "demo", "--count", 2)
    assert code == 0, said
    assert "2 of 2 pairs fused" in said
    assert (tmp_path / "demo" / "fused" / "report.html").is_file()
    assert (tmp_path / "demo" / "mlflow.db").is_file()
    assert len(list((tmp_path / "demo" / "fused" / "images").glob("*.png"))) == 2
