"""Stores other than S3 for the tests, each skipped where its server or its driver is not installed.

`gs://`: gcp-storage-emulator, a Python package. `az://`: Azurite, Microsoft's own (npm install azurite), whose program
azurite-blob is on PATH.
"""

import importlib.util
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import fsspec
import pytest

from infra.stack.processes import Processes
from pipelines.storage.stores import open_store
from tests.fault_proxy import FaultProxy

Kind = Literal["gs", "az"]
KINDS: tuple[Kind, ...] = ("gs", "az")
# Azurite's own account, which its documentation names.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class OtherStore:
    """A running server and a fresh bucket or container on it."""

    kind: Kind
    port: int
    bucket: str
    """Its URI."""

    def environment(self, port: int) -> dict[str, str]:
        """Return the environment of a process that reaches the server, or a proxy in front of it, at this port."""
        if self.kind == "gs":
            return {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}
        blobs = f"http://127.0.0.1:{port}/{ACCOUNT}"
        account = f"AccountName={ACCOUNT};AccountKey={KEY}"
        return {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{account};BlobEndpoint={blobs}"}

    @contextmanager
    def reached_at(self, port: int) -> Iterator[None]:
        """Reach the server, or a proxy in front of it, at this port from this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment(port).items():
                patch.setenv(name, value)
            if self.kind == "gs":  # its driver reads the environment once, on import
                endpoint = {"endpoint_url": f"http://127.0.0.1:{port}", "token": "anon", "project": "test"}
                patch.setitem(fsspec.config.conf, "gs", endpoint)
            driver = type(open_store(self.bucket)[0])
            driver.clear_instance_cache()
            yield
            driver.clear_instance_cache()


@contextmanager
def serve(kind: Kind, folder: Path) -> Iterator[OtherStore]:
    """Serve a store from memory, and make a bucket on it."""
    driver, server = {"gs": ("gcsfs", "gcp_storage_emulator"), "az": ("adlfs", "azurite-blob")}[kind]
    there = importlib.util.find_spec(server) if kind == "gs" else shutil.which(server)
    for name, found in ((driver, importlib.util.find_spec(driver)), (server, there)):
        if not found:
            pytest.skip(f"{name} is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command: list[str | Path] = (
        [sys.executable, "-m", "tests.google_store", str(port)]
        if kind == "gs"
        else [str(there), "--silent", "--inMemoryPersistence", "--skipApiVersionCheck", "--blobPort", str(port)]
    )
    processes = Processes(folder, bound=True)
    processes.serve(kind, *command)
    try:
        processes.wait(kind, lambda: _answers(port), 60)
        store = OtherStore(kind, port, f"{kind}://test-{uuid.uuid4().hex}")
        with store.reached_at(port):
            filesystem, _ = open_store(store.bucket)
            filesystem.mkdir(store.bucket.partition("://")[2])
        yield store
    finally:
        processes.stop()


@contextmanager
def broken(store: OtherStore, *, silence: float = 60) -> Iterator[FaultProxy]:
    """Put a proxy that breaks what passes through it between this process and a store."""
    with FaultProxy(store.port, silence=silence).running() as proxy, store.reached_at(proxy.port):
        yield proxy


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
