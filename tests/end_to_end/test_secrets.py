"""Secrets planted wherever a job could pick them up, and every byte that it leaves searched for them."""

import base64
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jobs.command_line import main
from tests.archives import make_archive
from tests.processes import start_job

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "aws/Secret+Key0123456789",
    "AWS_SESSION_TOKEN": "session-Token+0123456789==",
    "MLFLOW_TRACKING_PASSWORD": "tracking:pass/word",
    "HF_TOKEN": "hf_plantedPlantedPlanted",
    "MY_CAMERA_API_KEY": "camera&key=with?signs",
}
# What stands nowhere but inside URIs.
IN_URIS = {"a password": "swordfish-of-a-uri", "a signature": "0a1b2c3d4e5f-signature"}
ALL = SECRETS | IN_URIS


def forms_of(secret: str) -> set[bytes]:
    """A secret as it is, in base64 (also where it does not begin at a group of three), and as in URLs and Python."""
    encoded = {base64.b64encode(b" " * shift + secret.encode())[4 * (shift > 0) : -4] for shift in range(3)}
    written = {secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1]}
    return encoded | {form.encode() for form in written}


def found_in(data: bytes) -> set[str]:
    """The names of the secrets that stand in some bytes."""
    return {name for name, secret in ALL.items() if any(form in data for form in forms_of(secret))}


def leaks(folder: Path) -> dict[str, set[str]]:
    """Which secrets stand in the name or the bytes of a file below a folder; Parquet and SQLite are read, too."""
    return {name: found for name, data in _contents(folder) if (found := found_in(data))}


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        name = str(path.relative_to(folder))
        yield name, name.encode() + b"\n" + path.read_bytes()
        if path.suffix == ".parquet":
            yield f"rows of {name}", repr(pq.read_table(path).to_pylist()).encode()
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as database:
                yield f"dump of {name}", "\n".join(database.iterdump()).encode()


def fuse_on_ray(*words: object) -> tuple[int, str]:
    process = start_job("fuse", *words)
    said, _ = process.communicate(timeout=300)
    return process.returncode, said


class Betrayer(BaseHTTPRequestHandler):
    """Answers every request with an error that repeats all it has ever been told."""

    def do_GET(self) -> None:
        self.send_response(403, f"not signed with {' '.join(ALL.values())}")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815  # the name that is looked for

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def betrayer() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Betrayer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for jobs and for what Ray writes, in an environment full of secrets."""
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("SOME_PROXY", f"http://me:{IN_URIS['a password']}@127.0.0.1:1")
    monkeypatch.setenv("UPLOAD_TOKEN", IN_URIS["a signature"])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    # Not below pytest's, whose path is too long for Ray's sockets.
    with tempfile.TemporaryDirectory(prefix="upf-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("RAY_TMPDIR", folder)
        make_archive(Path(folder) / "in", 3)
        yield Path(folder)


def write_manifest(planted: Path, *rows: str) -> Path:
    manifest = planted / "in" / "pairs.csv"
    good = [f"{number},visible/street_00{number}.png,infrared/street_00{number}.png" for number in range(3)]
    manifest.write_text("\n".join(["pair_id,a_uri,b_uri", *good, *rows]))
    return manifest


def fuse_in_process(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["fuse", *map(str, words)])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("runner", "fuse"),
    [("inline", fuse_in_process), pytest.param("ray", fuse_on_ray, marks=[pytest.mark.slow, pytest.mark.extended])],
)
@pytest.mark.usefixtures("forget_tracking")
def test_no_secret_is_in_anything_that_a_job_leaves(
    runner: str, fuse: Callable[..., tuple[int, str]], planted: Path, betrayer: str, tracking_in: Callable[[Path], str]
) -> None:
    (planted / "in" / "infrared" / "street_002.png").write_text("\n".join(ALL.values()))
    manifest = write_manifest(planted, f"refused,visible/street_000.png,{betrayer}/1.png")
    out, mlflow = planted / "out", planted / "mlflow"
    mlflow.mkdir()
    options = ["--tracking-uri", tracking_in(mlflow), "--allow", betrayer, "--metrics", "en", "--verbose"]
    code, said = fuse(manifest, "--out", out, "--images", "both", "--runner", runner, *options)
    assert code == 3, said
    errors = {row["pair_id"]: row["error"] for row in pq.read_table(out / "pairs").to_pylist() if row["error"]}
    assert set(errors) == {"2", "refused"}
    # It came through, and nothing of it.
    assert "not signed with ***" in errors["refused"]
    assert (mlflow / "mlartifacts").is_dir()
    assert bool(list((planted / "ray").rglob("*.log"))) == (runner == "ray")
    for folder in (out, mlflow, planted / "ray"):
        assert leaks(folder) == {}
    assert found_in(said.encode()) == set()


def test_no_secret_is_in_what_a_crash_shows(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise OSError(f"https://me:{IN_URIS['a password']}@host: {' '.join(ALL.values())}")

    monkeypatch.setattr("pipelines.fuse.job.write_report", crash)
    options = ("--no-tracking", "--runner", "inline", "--metrics", "none", "--verbose")
    code, said = fuse_in_process(planted / "in", "--out", planted / "out", *options)
    assert code == 1
    assert "Traceback (most recent call last):" in said
    assert "https://me:***@host" in said
    assert found_in(said.encode()) == set()
    assert leaks(planted / "out") == {}


@pytest.mark.slow
@pytest.mark.extended
def test_no_secret_is_in_what_a_crash_of_ray_shows(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray names the path of its socket, which is too long.
    monkeypatch.setenv("RAY_TMPDIR", f"{planted}/{IN_URIS['a password']}/{'long' * 25}")
    options = ("--no-tracking", "--runner", "ray", "--verbose")
    code, said = fuse_on_ray(planted / "in", "--out", planted / "out", *options)
    assert code == 1
    assert "Traceback (most recent call last):" in said
    assert "/***/longlong" in said
    assert found_in(said.encode()) == set()
    assert leaks(planted / "out") == {}


@pytest.mark.parametrize(
    "words",
    [
        ("{in}", "--model", "https://me:{a password}@127.0.0.1/x.safetensors"),
        ("https://127.0.0.1/x?X-Amz-Signature={a signature}",),
        ("{in}", "--tracking-uri", "postgresql://me:{a password}@127.0.0.1/x"),
        ("{manifest}",),
    ],
    ids=["a model", "a source", "a tracking server", "a manifest"],
)
def test_no_secret_is_in_what_a_refusal_says(planted: Path, words: tuple[str, ...]) -> None:
    manifest = write_manifest(planted, f"x,visible/street_000.png,s3://AKIAX:{IN_URIS['a password']}@bucket/1.png")
    given = [word.format(**{"in": planted / "in", "manifest": manifest}, **IN_URIS) for word in words]
    result = CliRunner().invoke(main, ["fuse", *given, "--out", str(planted / "out"), "--verbose"])
    said = result.output
    assert result.exit_code == 2
    assert "AWS_ACCESS_KEY_ID" in said  # where credentials belong
    assert found_in(said.encode()) == set()
    assert not (planted / "out").exists()


@pytest.mark.parametrize(
    "uri",
    ["mysql+nothing+more://me:{a password}@127.0.0.1/x", "{betrayer}/{a password}"],
    ids=["a database", "a server"],
)
def test_no_secret_is_in_what_is_said_of_a_tracking_server(
    planted: Path, monkeypatch: pytest.MonkeyPatch, betrayer: str, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(betrayer=betrayer, **IN_URIS))
    result = CliRunner().invoke(main, ["fuse", str(planted / "in"), "--out", str(planted / "out"), "--verbose"])
    assert result.exit_code == 2
    assert "***" in result.output
    assert found_in(result.output.encode()) == set()
    assert leaks(planted / "out") == {}


def test_a_secret_would_be_found_wherever_it_stood(tmp_path: Path) -> None:
    for name, secret in ALL.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "plain.log").write_text(f"signed with {secret}.")
        (folder / "url.json").write_text(quote(secret, safe=""))
        for before in ("", ":", "me:"):
            (folder / f"{len(before)}.txt").write_bytes(base64.b64encode(f"{before}{secret}:more".encode()))
        row = {"error": f"x {secret}"}
        pq.write_table(pa.Table.from_pylist([row] * 100), folder / "rows.parquet", compression="zstd")
        database = sqlite3.connect(folder / "mlflow.db")
        database.execute("create table tags (value text)")
        database.execute("insert into tags values (?)", [secret])
        database.commit()
        database.close()
        (folder / "harmless.txt").write_text("AWS_SECRET_ACCESS_KEY is set")
        everything = {path.name for path in folder.iterdir()} - {"harmless.txt", "rows.parquet", "mlflow.db"}
        found = leaks(folder)
        assert everything | {"rows of rows.parquet", "dump of mlflow.db"} <= set(found)
        assert "harmless.txt" not in found
        assert all(name in names for names in found.values())
