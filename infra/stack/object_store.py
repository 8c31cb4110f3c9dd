"""An S3 server: Ceph RGW where it is installed, moto's server anywhere else.

Of Ceph one monitor, one OSD in memory and radosgw run, and everything they write lies below one folder.
"""

import importlib.metadata
import secrets
import shutil
import socket
import subprocess
import sys
import uuid
from pathlib import Path

from infra.stack.processes import Processes, StackError

CEPH_PROGRAMS = ("radosgw", "ceph-mon", "ceph-osd", "ceph", "ceph-authtool", "monmaptool", "radosgw-admin")
CEPH_PACKAGES = "radosgw ceph-mon ceph-osd ceph-base ceph-common"


class S3Server:
    """A server that is still to be started, on a free port of an address."""

    def __init__(self, kind: str, folder: Path, processes: Processes, address: str = "127.0.0.1") -> None:
        self.kind = kind
        self.access_key = "upfusionlocal"
        self.secret_key = secrets.token_hex(20)
        self.address = address
        self.port = free_port(address)
        self.endpoint = f"http://{address}:{self.port}"
        self._folder = folder
        self._processes = processes

    def start(self) -> None:
        """Start the server and wait until it answers; raises StackError."""
        if self.kind == "moto":
            self._processes.serve("moto", sys.executable, "-m", "moto.server", "-H", self.address, "-p", str(self.port))
            self._processes.wait("moto", lambda: accepts(self.port, self.address))
        else:
            self._start_ceph()

    def kill(self) -> None:
        """Kill what answers requests; raises StackError for moto, which forgets what it holds."""
        if self.kind == "moto":
            raise StackError("moto holds everything in the process that answers; use Ceph RGW")
        self._processes.kill("radosgw")

    def start_again(self) -> None:
        """Start what was killed, and wait until it answers; raises StackError."""
        self._processes.serve("radosgw", "radosgw", "-f", "-n", "client.rgw", "-c", self._folder / "ceph.conf")
        self._processes.wait("radosgw", lambda: accepts(self.port, self.address))

    @property
    def environment(self) -> dict[str, str]:
        """What a process that uses the store needs in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            # RGW and other stores than Amazon's do not know the newer checksum trailers.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def _start_ceph(self) -> None:
        """Take Ceph's manual deployment step by step; 2 s on two cores."""
        monitor = f"v2:127.0.0.1:{free_port()}"
        cluster, keyring, monmap = str(uuid.uuid4()), self._folder / "keyring", self._folder / "monmap"
        for name in ("mon", "osd", "rgw"):
            (self._folder / name).mkdir(parents=True)
        settings = {"folder": self._folder, "logs": self._processes.logs, "cluster": cluster, "monitor": monitor}
        (self._folder / "ceph.conf").write_text(
            CEPH_CONFIGURATION.format(**settings, endpoint=f"{self.address}:{self.port}")
        )
        run, serve = self._processes.run, self._processes.serve
        configured = ("-c", self._folder / "ceph.conf")
        run("ceph-authtool", "--create-keyring", keyring)
        for name, capabilities in CEPH_KEYS.items():
            options = [word for what, allowed in capabilities.items() for word in ("--cap", what, allowed)]
            run("ceph-authtool", keyring, "--gen-key", "-n", name, *options)
        run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", f"[{monitor}]", monmap)

        run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring, *configured)
        serve("ceph-mon", "ceph-mon", "-f", "-i", "a", *configured)
        run("ceph", "--connect-timeout", "20", "osd", "create", *configured)
        run("ceph-osd", "-i", "0", "--mkfs", *configured)
        serve("ceph-osd", "ceph-osd", "-f", "-i", "0", *configured)
        self.start_again()
        keys = (f"--access-key={self.access_key}", f"--secret-key={self.secret_key}")
        run("radosgw-admin", "user", "create", "--uid=local", "--display-name=local", *keys, *configured)


def missing_ceph_programs() -> list[str]:
    """List the programs without which Ceph RGW cannot be started."""
    return [name for name in CEPH_PROGRAMS if shutil.which(name) is None]


def version_of(kind: str) -> str:
    """Return a server's version, as `16.2.15`."""
    if kind == "moto":
        return importlib.metadata.version("moto")
    answer = subprocess.run(["radosgw", "--version"], capture_output=True, text=True, check=False, timeout=60)
    return next((word for word in answer.stdout.split() if word[0].isdigit()), "of unknown version")


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port of an address of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def accepts(port: int, address: str = "127.0.0.1") -> bool:
    """Tell whether something listens on a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


CEPH_KEYS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "client.rgw": {"mon": "allow *", "osd": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
}

# One host, one copy of everything, in memory; no manager daemon, because nothing here needs its statistics.
# The four intervals take the start from 12 s to 2 s: making each pool waits for them, and a request made
# before the OSD is up waits for its repetition.
CEPH_CONFIGURATION = """
[global]
fsid = {cluster}
mon host = [{monitor}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
keyring = {folder}/keyring
admin socket =
log file = {logs}/$name.log
mon cluster log file = {logs}/cluster.log
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
paxos propose interval = 0.05
paxos min wait = 0.01
mon tick interval = 1
mon data avail warn = 1
mon data avail crit = 1
objecter tick interval = 0.5
[client.rgw]
rgw frontends = beast endpoint={endpoint} tcp_nodelay=1
rgw thread pool size = 32
rgw enable usage log = false
rgw run sync thread = false
rgw relaxed region enforcement = true
"""
