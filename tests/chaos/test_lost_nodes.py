"""Jobs on a cluster that loses nodes while they run, down to the last one."""

import re
import subprocess
from pathlib import Path

import pytest

from pipelines.fuse.destination import Destination
from tests.archives import make_archive
from tests.end_to_end.test_fuse_archive import rows_of
from tests.ray_nodes import ray_nodes, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.extended, pytest.mark.timeout(900)]

PAIRS = 48
NODES = 4


def test_a_job_that_loses_half_and_three_quarters_of_its_cpus_ends_with_every_row(tmp_path: Path) -> None:
    ids = make_archive(tmp_path / "in", PAIRS, size=(160, 120))
    out = tmp_path / "out"

    def has_rows(count: int) -> bool:
        return Destination(str(out)).finished().rows.num_rows >= count

    with ray_nodes(NODES, cpus=1) as nodes:
        words = [tmp_path / "in", "--out", out, "--no-tracking", "--metrics", "vif,qp"]
        job = nodes.start("-m", "jobs.fuse", *words)
        wait_until(lambda: has_rows(4), job, 240)
        nodes.lose(2)
        wait_until(lambda: has_rows(16), job, 240)
        nodes.lose(1)
        said = finished(job, 300)
    assert job.returncode == 0, said
    rows = rows_of(out)
    assert [row["pair_id"] for row in rows] == ids
    assert {row["status"] for row in rows} == {"ok"}
    assert re.search(rf"\b{PAIRS}\b.*\b{PAIRS}\b", said)


def test_a_graph_that_is_stuck_is_built_anew_and_one_without_a_node_left_ends_with_the_reason(tmp_path: Path) -> None:
    written = tmp_path / "written"
    written.touch()
    with ray_nodes(2, cpus=2) as nodes:
        job = nodes.start("-m", "tests.small_graph", written, 40, "--greedy")
        wait_until(lambda: len(written.read_text().split()) >= 4, job, 240)
        nodes.lose(1)
        wait_until(lambda: len(written.read_text().split()) >= 24, job, 300)
        nodes.lose(1)
        said = finished(job, 200)
    assert job.returncode == 1, said
    assert "built anew" in said
    assert re.search(r"ClusterLostError: .*\b2\b.*\b0\.999 CPU\b", said)


def test_actors_restart_with_their_weights_on_a_node_that_never_had_them(tmp_path: Path) -> None:
    """Ray logs at the start of a graph that this could fail, for constructor arguments lie in its object store.

    Ray Data keeps the references as long as the graph, and the driver's node, the copies: only their end ends both.
    """
    written = tmp_path / "written"
    written.touch()
    with ray_nodes(1, cpus=2) as nodes:
        job = nodes.start("-m", "tests.small_graph", written, 40)
        wait_until(lambda: len(written.read_text().split()) >= 4, job, 240)
        nodes.gain()
        nodes.lose(1)
        said = finished(job, 300)
    assert job.returncode == 0, said
    assert (tmp_path / "written.restarts").read_text().split()
    assert sorted({*written.read_text().split()}) == [f"{number:04d}" for number in range(40)]
    assert "built anew" not in said


def finished(job: subprocess.Popen[str], seconds: float) -> str:
    """Wait for a job and return what it printed."""
    try:
        return job.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        job.kill()
        raise AssertionError(f"it did not end within {seconds:.0f} s:\n{job.communicate()[0]}") from None
