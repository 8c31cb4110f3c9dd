"""infra/stack/hosts.py: hosts on one machine that reach each other and it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.stack.hosts import Network, missing_programs
from infra.stack.object_store import accepts
from infra.stack.processes import Processes

from .manifests import ROOT

# What a host is made of, and a firewall in it.
PROBE = "unshare --net --mount --pid --uts --fork iptables -P FORWARD DROP"
PORT = 8000
BRIDGES_ARE_FILTERED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def test_hosts_reach_each_other_where_the_firewall_lets_nothing_pass_as_dockers_does(tmp_path: Path) -> None:
    probe = subprocess.run(["sh", "-c", PROBE], capture_output=True, text=True, check=False)
    if missing_programs() or probe.returncode:
        pytest.skip(f"no hosts, or no firewall, can be made here: {missing_programs()} {probe.stderr.strip()}")
    # In a namespace of its own, so that no rule of this machine changes.
    code = f"from pathlib import Path; from tests.infra.test_hosts import reach; reach(Path({str(tmp_path)!r}))"
    command = ["unshare", "--net", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr


def reach(folder: Path) -> None:
    """Forbid what Docker forbids, start two hosts, and wait until one is reached from here and from the other."""
    subprocess.run(["iptables", "-P", "FORWARD", "DROP"], check=True)
    if BRIDGES_ARE_FILTERED.exists():
        BRIDGES_ARE_FILTERED.write_text("1")
    network, processes = Network.make(), Processes(folder, bound=True)
    try:
        for number, name in enumerate(("one", "two"), start=1):
            server = f"{sys.executable} -m http.server {PORT} --directory /dev/shm"
            network.serve(number, name, server, folder / f"{name}-ray", processes, os.environ)
        address = network.address_of(1)
        processes.wait("the first host", lambda: accepts(PORT, address), seconds=20)
        call = f"from infra.stack.object_store import accepts; raise SystemExit(not accepts({PORT}, {address!r}))"
        there = ["nsenter", "--target", str(processes.started["two"]["pid"]), "--net", sys.executable, "-c", call]
        processes.wait("the first host, from the second", lambda: not subprocess.call(there), seconds=20)
    finally:
        processes.stop()
        network.remove()
