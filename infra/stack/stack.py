"""The whole stack: started in order, written down in a folder, and ended from there."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.session

from infra.stack import database, hosts, object_store
from infra.stack.hosts import Network
from infra.stack.object_store import S3Server, accepts, free_port
from infra.stack.processes import Processes, StackError
from infra.stack.ray_nodes import RayNodes

BUCKETS = ("data", "mlflow")
STATE, ENVIRONMENT = "state.json", "environment"


@dataclass(frozen=True)
class Stack:
    """A stack that runs, or did."""

    folder: Path
    processes: Processes
    network: Network | None
    environment: dict[str, str]
    """What a person who uses it sets."""
    parts: dict[str, str]
    """What runs, and where."""

    def stop(self) -> None:
        """End everything that was started, and remove the folder with all that lay in the stack."""
        self.processes.stop()
        if self.network:
            self.network.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill(self, host: str) -> None:
        """End a host of Ray at once, with all its processes."""
        self.processes.kill(host)


def start_stack(
    folder: Path, *, cpus: int = 4, bound: bool = False, store: str | None = None, say: Callable[[str], None] = print
) -> Stack:
    """Start everything in a folder that is still to be made; raises StackError, with nothing left running.

    `bound` ends it with this process; `store` is `ceph-rgw` or `moto`, by default what is installed. What is not
    installed or allowed is said, and replaced.
    """
    folder.mkdir(mode=0o711)  # PostgreSQL's user passes through
    (folder / "logs").mkdir()
    processes = Processes(folder / "logs", bound=bound)
    network = _make_network(say)
    try:
        return _start(folder, processes, network, store or _store(say), cpus, say)
    except BaseException:
        Stack(folder, processes, network, {}, {}).stop()
        raise


def load_stack(folder: Path) -> Stack | None:
    """Return the stack that a folder tells of, None where there is none."""
    state = folder / STATE
    if not state.exists():
        return None
    told: dict[str, Any] = json.loads(state.read_text())
    processes = Processes(folder / "logs", bound=False)
    processes.started = told["processes"]
    network = Network(**told["network"]) if told["network"] else None
    return Stack(folder, processes, network, told["environment"], told["parts"])


def _start(
    folder: Path, processes: Processes, network: Network | None, store: str, cpus: int, say: Callable[[str], None]
) -> Stack:
    here = network.address if network else "127.0.0.1"
    (folder / "store").mkdir()
    s3 = S3Server(store, folder / "store", processes, here)
    nodes = RayNodes(folder / "ray", processes, network)
    mlflow = f"http://{here}:{free_port(here)}"
    no_proxy = ",".join(sorted({"127.0.0.1", "localhost", here, *nodes.hosts.values()}))
    shared = s3.environment | {"MLFLOW_TRACKING_URI": mlflow, "NO_PROXY": no_proxy, "no_proxy": no_proxy}
    kept_in = "PostgreSQL" if database.find_programs() else "SQLite"
    ray_hosts = f"hosts on the bridge {network.name}" if network else "processes of this host"
    parts = {
        "S3": f"{s3.endpoint}  {store} {object_store.version_of(store)}, buckets {' and '.join(BUCKETS)}",
        "MLflow": f"{mlflow}  runs in {kept_in}, artifacts in s3://mlflow",
        "Ray": f"{nodes.dashboard}  head and {len(nodes.hosts) - 1} workers of {cpus} logical CPUs, {ray_hosts}",
    }
    stack = Stack(folder, processes, network, shared | nodes.environment, parts)
    # Written down as it goes, for whoever is to end what a killed start has left.
    s3.start()
    _make_buckets(s3)
    _write_down(stack)
    _serve_mlflow(mlflow, _database(folder, processes, say), processes, s3.environment)
    _write_down(stack)
    # Which takes longest, and MLflow is ready meanwhile.
    nodes.start(shared, cpus)
    processes.wait("MLflow", lambda: accepts(int(mlflow.rpartition(":")[2]), here))
    _write_down(stack)
    return stack


def _write_down(stack: Stack) -> None:
    network = stack.network and {"name": stack.network.name, "number": stack.network.number}
    told: dict[str, Any] = {"processes": stack.processes.started, "network": network}
    told |= {"environment": stack.environment, "parts": stack.parts}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in stack.environment.items())
    exports += f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"\n'
    for name, text in ((ENVIRONMENT, exports), (STATE, json.dumps(told, indent=2))):
        file = stack.folder / name
        file.touch(mode=0o600)  # the store's key is in them
        file.write_text(text)


def _make_network(say: Callable[[str], None]) -> Network | None:
    if missing := hosts.missing_programs():
        say(f"no hosts of their own for Ray: {', '.join(missing)} is missing; apt-get install {hosts.PACKAGES}")
        return None
    try:
        return Network.make()
    except StackError as error:
        say(f"no hosts of their own for Ray, which takes root's rights ({error}): plain processes instead")
        return None


def _store(say: Callable[[str], None]) -> str:
    if not object_store.missing_ceph_programs():
        return "ceph-rgw"
    say(f"Ceph RGW is not installed, moto stands in; apt-get install {object_store.CEPH_PACKAGES}")
    return "moto"


def _database(folder: Path, processes: Processes, say: Callable[[str], None]) -> str:
    if database.find_programs():
        return database.start_database(folder / "postgresql", processes)
    say(f"PostgreSQL is not installed, SQLite stands in; apt-get install {database.PACKAGE}")
    return f"sqlite:///{folder}/mlflow.db"


def _serve_mlflow(uri: str, runs: str, processes: Processes, environment: dict[str, str]) -> None:
    host, _, port = uri.removeprefix("http://").partition(":")
    env = {**os.environ, **environment, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", port, "--workers", "1"]
    stores = ["--backend-store-uri", runs, "--artifacts-destination", "s3://mlflow/artifacts"]
    processes.serve("mlflow", *command, *stores, environment=env)


def _make_buckets(s3: S3Server) -> None:
    keys = {"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key}
    client = botocore.session.Session().create_client("s3", region_name="us-east-1", endpoint_url=s3.endpoint, **keys)
    try:
        for name in BUCKETS:
            client.create_bucket(Bucket=name)
    finally:
        client.close()
