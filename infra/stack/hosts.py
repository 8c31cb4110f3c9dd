"""Hosts on one machine: network namespaces on a bridge, with processes, /tmp/ray and /dev/shm of their own.

The bridge has a namespace to itself, where no rules of this machine's firewall hold: Docker's, for one, let nothing
pass from one end of a bridge to another.

Where a machine does not allow that, a host is no more than a process with ports of its own.
"""

import os
import random
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from infra.stack.processes import Processes, StackError

PACKAGES = "iproute2 util-linux"


class Network:
    """A bridge and hosts on it; this machine's own end of it has `address`, hosts get those behind it.

    Its name is that of the bridge's namespace and of this machine's end.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self._net = f"10.87.{number}"
        self.address = self.address_of(0)

    def address_of(self, host: int) -> str:
        """Return the address of a host, of which 0 is this machine."""
        return f"{self._net}.{host + 1}"

    @classmethod
    def make(cls) -> "Network":
        """Make a bridge with a name and addresses that nobody uses; raises StackError where that is not allowed."""
        reason = ""
        for number in random.sample(range(1, 255), 20):
            network = cls(f"upfusion{number}", number)
            try:
                # Only one of several can make a namespace of this name.
                _ip("netns", "add", network.name)
            except (subprocess.CalledProcessError, FileNotFoundError) as error:
                reason = _reason_of(error)
                continue
            try:
                _ip("-n", network.name, "link", "add", "bridge", "type", "bridge")
                _ip("-n", network.name, "link", "set", "bridge", "up")
                network._plug("machine", network.name, os.getpid())
                _ip("addr", "add", f"{network.address}/24", "dev", network.name)
                _ip("link", "set", network.name, "up")
                _run("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "true")
            except (subprocess.CalledProcessError, FileNotFoundError) as error:
                network.remove()
                raise StackError(_reason_of(error)) from error
            return network
        raise StackError(reason)

    def remove(self) -> None:
        """Remove the bridge and what is plugged in."""
        # First this end: the kernel clears a namespace after it has reported it gone.
        for words in (("link", "del", self.name), ("netns", "del", self.name)):
            with suppress(subprocess.CalledProcessError):
                _ip(*words)

    def _plug(self, port: str, end: str, pid: int) -> None:
        """Connect the network namespace of a process, where the cable's end has the name `end`, to a port."""
        _ip("-n", self.name, "link", "add", port, "type", "veth", "peer", "name", end, "netns", str(pid))
        _ip("-n", self.name, "link", "set", port, "master", "bridge", "up")

    def serve(
        self, host: int, name: str, command: str, folder: Path, processes: Processes, env: Mapping[str, str]
    ) -> None:
        """Start a host whose first process is a shell's command; all of the host ends with it."""
        folder.mkdir()
        script = (
            # What comes before the network would not find it.
            f"read go && hostname {name} && mkdir -p /tmp/ray && mount --bind {shlex.quote(str(folder))} /tmp/ray && "
            f"mount -t tmpfs tmpfs /dev/shm && {command}"
        )
        apart = ("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc")
        server = processes.serve(name, *apart, "sh", "-c", script, environment=env, stdin=subprocess.PIPE)
        assert server.stdin is not None
        processes.wait(f"the network of {name}", lambda: _is_apart(server.pid))
        self._plug(f"host{host}", "eth0", server.pid)
        inside = ("nsenter", "-t", str(server.pid), "-n")
        for words in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{self.address_of(host)}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            # It leads nowhere, but whoever looks for this host's address looks at it.
            ("route", "add", "default", "via", self.address),
        ):
            _run(*inside, "ip", *words)
        server.stdin.write(b"go\n")
        server.stdin.close()


def missing_programs() -> list[str]:
    """List the programs without which there can be no hosts."""
    return [name for name in ("ip", "unshare", "nsenter", "hostname", "mount") if shutil.which(name) is None]


def _is_apart(pid: int) -> bool:
    ours, theirs = (Path(f"/proc/{one}/ns/net").readlink() for one in ("self", pid))
    return ours != theirs


def _ip(*words: str) -> None:
    _run("ip", *words)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)


def _reason_of(error: Exception) -> str:
    reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
    return reason or str(error)
