"""What every test can use."""

import gc
import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from s3fs import S3FileSystem

from infra.stack.object_store import missing_ceph_programs, version_of
from infra.stack.processes import StackError
from pipelines.cluster.ray_cluster import Cluster

from . import object_store as servers
from .ray_nodes import without_dashboard

# Hooks of pytest, which looks for them here.
from .scheduling import pytest_collection_modifyitems, pytest_xdist_make_scheduler  # noqa: F401
from .tally import LINES, pytest_sessionfinish, pytest_terminal_summary, pytest_testnodedown  # noqa: F401

# How long an example takes is the machine's business, which may be busy.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Hear Ctrl-C: what a shell starts in its background ignores it, and so would all that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    kind = servers.chosen_kind()
    reason = ""
    if missing := missing_ceph_programs():
        reason = f" (Ceph RGW is not installed, these are missing: {', '.join(missing)})"
    return f"object store: {kind} {version_of(kind)}, started by the first test that uses it{reason}"


@pytest.fixture(scope="session")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.ObjectStore]:
    """A running S3 server, with the environment pointing to it.

    Processes that a test starts (Ray's too) see the store only if they are started after it.
    """
    store = servers.ObjectStore(servers.chosen_kind(), tmp_path_factory.mktemp("object-store"))
    began = time.monotonic()
    try:
        store.start()
    except StackError as error:
        if store.kind == "moto" or servers.SWITCH in os.environ:
            raise
        LINES.append(f"WARNING: object store: {store.kind} did not start, tests ran against moto. {error}")
        store = servers.ObjectStore("moto", tmp_path_factory.mktemp("object-store"))
        store.start()
    seconds = time.monotonic() - began
    LINES.append(f"object store: {store.kind} {version_of(store.kind)}, started in {seconds:.1f} s")
    # s3fs keeps its connections, and with them the environment they were made in.
    S3FileSystem.clear_instance_cache()
    yield store
    S3FileSystem.clear_instance_cache()
    store.stop()


@pytest.fixture(scope="session")
def ray_here(object_store: servers.ObjectStore) -> Iterator[Cluster]:  # noqa: ARG001  # its environment comes first
    """A Ray on this machine that jobs of this process share; its workers see the object store."""
    with ExitStack() as stack:
        with without_dashboard(), warnings.catch_warnings():
            # The processes of a node that starts too slowly are left to themselves, and another one is started.
            warnings.simplefilter("ignore", ResourceWarning)
            cluster = stack.enter_context(Cluster())
            gc.collect()
        yield cluster


@pytest.fixture(scope="session")
def tracking_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Make an empty database of MLflow in a folder and return its URI: a copy of one, whose making takes seconds."""
    import mlflow  # takes seconds, which most files need not spend

    empty = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{empty}").search_experiments()

    def copy(folder: Path) -> str:
        return f"sqlite:///{shutil.copy(empty, folder / empty.name)}"

    return copy


@pytest.fixture
def forget_tracking() -> Iterator[None]:
    """Make MLflow forget the server of a job in this process, which outdoes the environment's."""
    import mlflow

    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def trained_detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small detector that has learned to find bright upright rectangles."""
    from .detector import train_tiny_detector  # torchvision's detectors take seconds to import

    return train_tiny_detector(tmp_path_factory.mktemp("detector") / "detector.safetensors")
