"""PostgreSQL for MLflow's runs and models: reachable by a socket in the folder alone, so without a password."""

import os
import pwd
import shutil
import signal
from pathlib import Path

from infra.stack.processes import Processes

PACKAGE = "postgresql"
DEBIANS_FOLDER = Path("/usr/lib/postgresql")


def find_programs() -> dict[str, str] | None:
    """Return where `initdb` and `postgres` are, None where one is missing; Debian keeps them out of the PATH."""
    versions = sorted(DEBIANS_FOLDER.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    path = os.pathsep.join([*map(str, versions), os.environ.get("PATH", "")])
    found = {name: shutil.which(name, path=path) for name in ("initdb", "postgres")}
    return {name: where for name, where in found.items() if where} if all(found.values()) else None


def start_database(folder: Path, processes: Processes) -> str:
    """Start a new database in a folder that is still to be made, and return its URI for MLflow; raises StackError."""
    programs = find_programs()
    assert programs is not None
    folder.mkdir(mode=0o700)
    user = None
    if os.getuid() == 0:  # as whom PostgreSQL refuses to run; Debian's package makes this user
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
    data = folder / "data"
    # Nothing in it is worth a sync: it ends with the stack.
    processes.run(programs["initdb"], "--no-sync", "--auth=trust", "--username=mlflow", "-D", data, user=user)
    options = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off")
    # SIGQUIT ends it at once, with its children and its shared memory.
    processes.serve("postgresql", programs["postgres"], "-D", data, *options, user=user, ended_by=signal.SIGQUIT)
    processes.wait("postgresql", lambda: _is_ready(data / "postmaster.pid"))
    # psycopg is the driver; a database of this name is there from the start.
    return f"postgresql+psycopg://mlflow@/postgres?host={folder}"


def _is_ready(lock: Path) -> bool:
    """Tell whether connections are taken, which the last line of the lock file says."""
    return lock.exists() and lock.read_text().rstrip().endswith("ready")
