"""`upfusion submit` on a Ray whose dashboard answers; tests/chaos/test_stack.py has the whole day of a cluster."""

import os
import random
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack.processes import Processes
from infra.stack.ray_nodes import alive_nodes, until_it_works
from jobs.exit_codes import EXIT_SOME_FAILED
from tests.archives import make_archive
from tests.end_to_end.test_fuse_archive import rows_of
from tests.processes import start_job
from tests.ray_nodes import ENVIRONMENT

pytestmark = pytest.mark.slow


def reserved_port() -> int:
    """Return a free port below those that are handed out to whoever asks for any, as another Ray does meanwhile."""
    for port in random.sample(range(20_000, 32_768), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise OSError("no port is free between 20000 and 32768")


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a Ray with two logical CPUs."""
    folder = Path(tempfile.mkdtemp(prefix="upf-"))  # short, for sockets lie in it
    gcs, dashboard, client = reserved_port(), reserved_port(), reserved_port()
    options = ["--head", "--block", "--disable-usage-stats", "--temp-dir", str(folder), "--num-cpus", "2"]
    options += ["--port", str(gcs), "--dashboard-port", str(dashboard), "--ray-client-server-port", str(client)]
    options += ["--include-dashboard", "true", "--object-store-memory", "200000000"]
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    # Others of this machine have the ports that Ray takes by default.
    for port in ("dashboard-agent-listen-port", "metrics-export-port", "runtime-env-agent-port"):
        options += [f"--{port}", str(reserved_port())]
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    # `python -m jobs.fuse` is to be this Python.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    processes = Processes(folder, bound=True)
    # A node ends when a part of it starts too slowly, as on a busy machine.
    command = until_it_works([sys.executable, "-m", "ray.scripts.scripts", "start", *options])
    processes.serve("ray", "sh", "-c", command)
    address = f"http://127.0.0.1:{dashboard}"
    environment = {**os.environ, "RAY_API_SERVER_ADDRESS": address}
    try:
        processes.wait("Ray", lambda: bool(alive_nodes(environment)), 300)
        yield address
    finally:
        processes.kill("ray")
        shutil.rmtree(folder, ignore_errors=True)


def test_a_submitted_job_ends_with_its_rows_and_its_exit_code(dashboard: str, tmp_path: Path) -> None:
    ids = make_archive(tmp_path / "in", 3, size=(48, 40))
    (tmp_path / "in" / "visible" / f"{ids[1]}.png").write_bytes(b"")
    out = tmp_path / "out"
    words = ["--address", dashboard, "--wait", "fuse", tmp_path / "in", "--out", out, "--no-tracking"]
    # In a process of its own: whether there is a token Ray decides when it is imported.
    job = start_job("submit", *words, "--metrics", "ssim")
    said, _ = job.communicate(timeout=400)
    assert job.returncode == EXIT_SOME_FAILED, said
    assert [(row["pair_id"], row["error_code"]) for row in rows_of(out)] == [
        (ids[0], None), (ids[1], "empty_file"), (ids[2], None)
    ]  # fmt: skip
