"""Ray's head and workers: hosts of a network, or processes beside each other on this machine."""

import json
import os
import secrets
import shlex
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from infra.stack.hosts import Network
from infra.stack.object_store import accepts, free_port
from infra.stack.processes import Processes

OBJECT_STORE_BYTES = "300000000"
# Proxies lead out of this machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

HEAD, WORKERS = "head", ("worker-1", "worker-2")

# A node that is gone is noticed after 3 s instead of 15; one that answers late, on a busy machine, is not gone.
WATCHFUL = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}


class RayNodes:
    """Ray's head, which runs the jobs' drivers and nothing else, and two workers."""

    def __init__(self, folder: Path, processes: Processes, network: Network | None) -> None:
        self._folder = folder
        self._processes = processes
        self._network = network
        self.hosts = {name: self._address_of(number) for number, name in enumerate((HEAD, *WORKERS), start=1)}
        self.port = 6379 if network else free_port()
        self.dashboard_port = 8265 if network else free_port()
        self.dashboard = f"http://{self.hosts[HEAD]}:{self.dashboard_port}"
        self._token = folder / "token"

    @property
    def environment(self) -> dict[str, str]:
        """What a process that submits jobs needs in its environment."""
        return {
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._token),
        }

    def start(self, environment: Mapping[str, str], cpus: int) -> None:
        """Start all of them, and wait until jobs can be submitted; raises StackError.

        `environment` is what the jobs find, `cpus` the logical CPUs of each worker.
        """
        self._folder.mkdir()
        self._token.touch(mode=0o600)
        self._token.write_text(secrets.token_hex(32))
        env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        env |= {**environment, **self.environment, **WATCHFUL, "RAY_USAGE_STATS_ENABLED": "0"}
        # `python -m jobs.fuse` is to be this Python.
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        dashboard = ("--include-dashboard", "true", "--dashboard-host", self.hosts[HEAD])
        options = [*dashboard, "--dashboard-port", str(self.dashboard_port), "--num-cpus", "0"]
        self._serve(1, HEAD, ["--head", "--port", str(self.port), *options], env)
        self._processes.wait("Ray's head", lambda: accepts(self.port, self.hosts[HEAD]))
        address = f"{self.hosts[HEAD]}:{self.port}"
        for number, name in enumerate(WORKERS, start=2):
            self._serve(number, name, ["--address", address, "--num-cpus", str(cpus)], env)
        everyone = set(self.hosts)
        self._processes.wait(f"Ray's {len(everyone)} nodes", lambda: alive_nodes(self.environment) == everyone, 180)

    def _serve(self, number: int, name: str, options: list[str], env: Mapping[str, str]) -> None:
        address, folder = self.hosts[name], self._folder / name
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats"]
        command += ["--node-ip-address", address, "--node-name", name]
        command += ["--object-store-memory", OBJECT_STORE_BYTES, *options]
        if self._network:
            # Not with --block, which ends a node when a part of it starts too slowly that nobody needs here.
            # What a start that failed has left would fail the next one. The host's first process waits, so that none
            # that has lost its parent stays as a zombie.
            script = f"{until_it_works(command, 'kill -9 -1; ')}; sleep infinity & wait"
            self._network.serve(number, name, script, folder, self._processes, env)
            return
        command += ["--block"]
        if name == HEAD:
            # Ray's other nodes on this machine learn it from the head.
            command += ["--temp-dir", str(self._folder), "--ray-client-server-port", str(free_port())]
        for port in ("dashboard-agent-listen-port", "metrics-export-port", "runtime-env-agent-port"):
            command += [f"--{port}", str(free_port())]
        self._processes.serve(name, "sh", "-c", until_it_works(command), environment=env)

    def _address_of(self, number: int) -> str:
        return self._network.address_of(number) if self._network else "127.0.0.1"


def alive_nodes(environment: Mapping[str, str]) -> set[str]:
    """Return the names of the nodes that Ray knows to be alive; none where it does not answer.

    A host's first process may run while the node on it does not. `environment` is what a process that submits jobs
    needs.
    """
    token = Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    dashboard = environment["RAY_API_SERVER_ADDRESS"]
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{dashboard}/nodes?view=summary", headers=headers)
    try:
        with DIRECT.open(request, timeout=10) as answer:
            raylets = [node.get("raylet", {}) for node in json.load(answer)["data"]["summary"]]
    except (OSError, ValueError, KeyError):
        return set()
    return {raylet["nodeName"] for raylet in raylets if raylet.get("state") == "ALIVE"}


def until_it_works(command: list[str], clean_up: str = "") -> str:
    """Repeat a command of the shell: a worker gives up on a head that takes long, a node on itself after 30 seconds."""
    return f"until {shlex.join(command)}; do {clean_up}sleep 1; done"
