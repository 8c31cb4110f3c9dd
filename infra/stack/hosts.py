"""Hosts on one machine: network namespaces on a bridge, with processes, /tmp/ray and /dev/shm of their own.

Where a machine does not allow that, a host is no more than a process with ports of its own.
"""

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
    """A bridge of this machine; its own address is `address`, hosts get those behind it."""

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
        said = ""
        for number in random.sample(range(1, 255), 20):
            network = cls(f"upfusion{number}", number)
            try:
                # Only one of several can make a link of this name.
                _ip("link", "add", network.name, "type", "bridge")
            except (subprocess.CalledProcessError, FileNotFoundError) as error:
                said = _said(error)
                continue
            try:
                _ip("addr", "add", f"{network.address}/24", "dev", network.name)
                _ip("link", "set", network.name, "up")
                _run("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "true")
            except (subprocess.CalledProcessError, FileNotFoundError) as error:
                network.remove()
                raise StackError(_said(error)) from error
            return network
        raise StackError(said)

    def remove(self) -> None:
        """Remove the bridge; the hosts' ends went with their hosts."""
        with suppress(subprocess.CalledProcessError):
            _ip("link", "del", self.name)

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
        inside, outside = ("nsenter", "-t", str(server.pid), "-n"), f"{self.name}h{host}"
        _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", str(server.pid))
        _ip("link", "set", outside, "master", self.name, "up")
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


def _said(error: Exception) -> str:
    said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
    return said or str(error)
