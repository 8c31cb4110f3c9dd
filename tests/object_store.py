"""A real S3 server for the tests: Ceph RGW where it is installed, moto's server anywhere else.

One monitor, one OSD in memory and radosgw run on loopback, all of them children of this process and with
everything they write below one folder. `UPFUSION_TEST_STORE=moto` (or `ceph-rgw`) chooses the server; without
it the tests take what is installed.
"""

import importlib.metadata
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import botocore.session
import pytest

SWITCH = "UPFUSION_TEST_STORE"
CEPH_PROGRAMS = ("radosgw", "ceph-mon", "ceph-osd", "ceph", "ceph-authtool", "monmaptool", "radosgw-admin")
# What a developer has configured for the real S3 must neither break these tests nor be reached by them.
AWS_SETTINGS_IN_THE_WAY = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL_S3",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_CA_BUNDLE",
)


class StoreError(RuntimeError):
    """The server did not start; the text says why and ends with the last lines of its logs."""


class ObjectStore:
    """A running S3 server, which the environment of this process points to."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.access_key = "upfusiontests"
        self.secret_key = secrets.token_hex(20)
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._servers: list[subprocess.Popen[bytes]] = []
        self._environment_before: dict[str, str | None] = {}

    def start(self) -> None:
        """Start the server and point the environment to it; raises StoreError, with nothing left running."""
        try:
            if self.kind == "moto":
                self._start_moto()
            else:
                self._start_ceph()
        except BaseException:
            self.stop()
            raise
        self._set_environment()

    def stop(self) -> None:
        """End every process that was started, the last one first, and restore the environment."""
        for name, value in self._environment_before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        self._environment_before.clear()
        for server in reversed(self._servers):
            server.kill()  # nothing is worth saving, and a polite end of Ceph takes 5 s
            server.wait()
        self._servers.clear()

    def new_bucket(self, name: str | None = None) -> str:
        """Make a bucket, of its own for a test unless it is named, and return its URI, `s3://name`."""
        name = name or f"test-{uuid.uuid4().hex}"
        client = botocore.session.Session().create_client("s3")
        try:
            client.create_bucket(Bucket=name)
        finally:
            client.close()
        return f"s3://{name}"

    def _start_moto(self) -> None:
        self._serve("moto", sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port))
        self._wait("moto")

    def _start_ceph(self) -> None:
        """Take Ceph's manual deployment step by step; 2 s on two cores."""
        monitor = f"v2:127.0.0.1:{free_port()}"
        cluster, keyring, monmap = str(uuid.uuid4()), self._folder / "keyring", self._folder / "monmap"
        for name in ("mon", "osd", "rgw", "log"):
            (self._folder / name).mkdir()
        (self._folder / "ceph.conf").write_text(
            CEPH_CONFIGURATION.format(folder=self._folder, cluster=cluster, monitor=monitor, port=self.port)
        )
        self._run("ceph-authtool", "--create-keyring", keyring)
        for name, capabilities in CEPH_KEYS.items():
            options = [word for what, allowed in capabilities.items() for word in ("--cap", what, allowed)]
            self._run("ceph-authtool", keyring, "--gen-key", "-n", name, *options)
        self._run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", f"[{monitor}]", monmap)

        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
        self._serve("mon", "ceph-mon", "-f", "-i", "a")
        self._run("ceph", "--connect-timeout", "20", "osd", "create")
        self._run("ceph-osd", "-i", "0", "--mkfs")
        self._serve("osd", "ceph-osd", "-f", "-i", "0")
        self._serve("rgw", "radosgw", "-f", "-n", "client.rgw")
        self._wait("radosgw")
        keys = (f"--access-key={self.access_key}", f"--secret-key={self.secret_key}")
        self._run("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests", *keys)

    def _run(self, *command: str | Path) -> None:
        """Run one of Ceph's commands to its end."""
        try:
            done = subprocess.run(self._configured(command), capture_output=True, text=True, timeout=60)
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise StoreError(f"{command[0]}: {error}{self._logs()}") from error
        if done.returncode:
            said = (done.stdout + done.stderr).strip()
            raise StoreError(f"{command[0]} exited with {done.returncode}: {said}{self._logs()}")

    def _serve(self, name: str, *command: str | Path) -> None:
        """Start a server, which ends with this process even if that is killed."""
        with_this_process = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
        with (self._folder / f"{name}.out").open("wb") as log:
            server = subprocess.Popen(
                [*with_this_process, *self._configured(command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for pytest, whose last steps still need the store
            )
        self._servers.append(server)

    def _configured(self, command: tuple[str | Path, ...]) -> list[str]:
        configuration = [] if self.kind == "moto" else ["-c", self._folder / "ceph.conf"]
        return [str(word) for word in (*command, *configuration)]

    def _wait(self, what: str, seconds: float = 60) -> None:
        """Wait until the port answers, a server ends or time is up."""
        deadline = time.monotonic() + seconds
        while not accepts(self.port):
            for server in self._servers:
                if server.poll() is not None:
                    raise StoreError(f"{server.args} ended with {server.returncode}{self._logs()}")
            if time.monotonic() > deadline:
                raise StoreError(f"{what} did not answer within {seconds:.0f} s{self._logs()}")
            time.sleep(0.05)

    def _logs(self) -> str:
        """The last lines of every log that is not empty."""
        logs = [*self._folder.glob("*.out"), *self._folder.glob("log/*")]
        tails = {log: log.read_text(errors="replace").splitlines()[-10:] for log in sorted(logs)}
        return "".join(f"\n--- {log.name}\n" + "\n".join(tail) for log, tail in tails.items() if tail)

    def _set_environment(self) -> None:
        nowhere = str(self._folder / "no-such-file")
        no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost")))
        settings: dict[str, str | None] = {
            **dict.fromkeys(AWS_SETTINGS_IN_THE_WAY),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            # RGW and other stores than Amazon's do not know the newer checksum trailers.
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
        }
        for name, value in settings.items():
            self._environment_before[name] = os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def chosen_kind() -> str:
    """Tell which server the tests will use: what the switch says, else what is installed."""
    chosen = os.environ.get(SWITCH) or ("moto" if missing_ceph_programs() else "ceph-rgw")
    if chosen not in ("moto", "ceph-rgw"):
        raise pytest.UsageError(f"{SWITCH} is {chosen!r}; expected 'moto' or 'ceph-rgw'")
    return chosen


def missing_ceph_programs() -> list[str]:
    """List the programs without which Ceph RGW cannot be started."""
    return [name for name in CEPH_PROGRAMS if shutil.which(name) is None]


def version_of(kind: str) -> str:
    """Return a server's version, as `16.2.15`."""
    if kind == "moto":
        return importlib.metadata.version("moto")
    answer = subprocess.run(["radosgw", "--version"], capture_output=True, text=True, check=False, timeout=60)
    return next((word for word in answer.stdout.split() if word[0].isdigit()), "of unknown version")


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    """Tell whether something listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
log file = {folder}/log/$name.log
mon cluster log file = {folder}/log/cluster.log
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
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw thread pool size = 32
rgw enable usage log = false
rgw run sync thread = false
rgw relaxed region enforcement = true
"""
