"""A data set on Hugging Face as SOURCE, against a stand-in for its hub: no hub can be reached from everywhere."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfFileSystem

from pipelines.archive.config import ArchiveConfig
from pipelines.archive.discover import discover
from pipelines.archive.load import fetch
from pipelines.errors.exceptions import UsageError

REPO = "/datasets/ann/streets"
COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does: about a data set, what it holds, and ranges of its files."""

    protocol_version = "HTTP/1.1"

    def _file(self, name: str) -> bytes:
        file: Path = self.server.folder / name  # type: ignore[attr-defined]
        return file.read_bytes()

    def _entry(self, name: str) -> dict[str, object]:
        return {"type": "file", "path": name, "size": len(self._file(name)), "oid": "1" * 40}

    def _tell(self, said: object, status: int = 200) -> None:
        self._send(json.dumps(said).encode(), status, "application/json")

    def _send(self, data: bytes, status: int, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        folder: Path = self.server.folder  # type: ignore[attr-defined]
        names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        if not path.removeprefix("/api").startswith(REPO):
            self._tell({"error": "Repository not found"}, 404)
        elif path.startswith(f"/api{REPO}/tree/"):
            below = path.split("/tree/", 1)[1].partition("/")[2]
            self._tell([self._entry(name) for name in names if name.startswith(below)])
        elif path.startswith(f"/api{REPO}"):
            self._tell({"id": "ann/streets", "sha": COMMIT, "siblings": []})
        else:
            name = re.sub(rf"^{REPO}/resolve/[^/]+/", "", path)
            data, wanted = self._file(name), re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            first, last = (int(wanted[1]), int(wanted[2])) if wanted else (0, len(data))
            self.server.sent += last - first  # type: ignore[attr-defined]
            self._send(data[first : last + 1], 206 if wanted else 200)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        folder: Path = self.server.folder  # type: ignore[attr-defined]
        paths = json.loads(body)["paths"] if body.startswith("{") else re.findall(r"paths=([^&]*)", body)
        paths = [path.replace("%2F", "/") for path in paths]
        self._tell([self._entry(path) for path in paths if (folder / path).is_file()])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.sent = tmp_path, 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    endpoint = {"endpoint": f"http://127.0.0.1:{server.server_port}", "token": False}
    monkeypatch.setitem(fsspec.config.conf, "hf", endpoint)
    HfFileSystem.clear_instance_cache()
    yield server
    HfFileSystem.clear_instance_cache()
    server.shutdown()
    server.server_close()


def test_a_data_set_is_fused_from_where_it_is(hub: ThreadingHTTPServer, tmp_path: Path) -> None:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = [{"bytes": bytes([row]) * 100_000, "path": None} for row in range(40)]
    table = pa.table({"visible": pa.array(values, image), "infrared": pa.array(values[::-1], image)})
    (tmp_path / "data").mkdir()
    pq.write_table(table, tmp_path / "data" / "train-0.parquet", row_group_size=4, compression="none")
    (tmp_path / "README.md").write_text("streets")
    found = discover(ArchiveConfig(source="hf://datasets/ann/streets", limit=2)).pairs
    assert found["a_uri"][0].as_py() == "hf://datasets/ann/streets/data/train-0.parquet#row=0&column=visible"
    rows = fetch(found)
    assert [row["error"] for row in rows] == [None, None]
    assert [(row["a_file"][:1], row["b_file"][:1]) for row in rows] == [(b"\0", bytes([39])), (b"\1", bytes([38]))]
    assert hub.sent < 4_000_000  # type: ignore[attr-defined]  # of 8 MB


@pytest.mark.usefixtures("hub")
def test_one_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="nobody"):
        discover(ArchiveConfig(source="hf://datasets/nobody/nothing"))
