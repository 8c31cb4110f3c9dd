"""Reading over HTTP."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipelines.storage import objects as storage


class Sends(BaseHTTPRequestHandler):
    """Sends a reader of /to/URL to that URL, and gives everybody else what he asked for."""

    def do_GET(self) -> None:
        where = self.path.partition("/to/")[2]
        body = b"" if where else self.path.encode()
        self.send_response(302 if where else 200)
        if where:
            self.send_header("Location", where)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.asked.append(self.path)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hosts(monkeypatch) -> Iterator[list[ThreadingHTTPServer]]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Sends) for _ in range(2)]
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for server, thread in zip(servers, threads, strict=True):
        server.asked = []
        thread.start()
    yield servers
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


def url(host: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{host.server_port}"


def test_what_a_host_has_is_read_also_where_it_sends_a_reader_on(hosts):
    here = url(hosts[0])
    uris = [f"{here}/1.png", f"{here}/to//2.png", f"{here}/to/{here}/3.png"]
    assert [storage.read_bytes(uri) for uri in uris] == [b"/1.png", b"/2.png", b"/3.png"]
    assert storage.read_many(uris) == [b"/1.png", b"/2.png", b"/3.png"]


def test_a_host_cannot_send_a_reader_to_another_one(hosts):
    here, other = map(url, hosts)
    for target in (f"{other}/1.png", f"//127.0.0.1:{hosts[1].server_port}/1.png", f"{here}/to/{other}/1.png"):
        uri = f"{here}/to/{target}"
        with pytest.raises(PermissionError, match=rf"redirects.*{other}"):
            storage.read_bytes(uri)
        (error,) = storage.read_many([uri])
        assert isinstance(error, PermissionError)
    assert hosts[1].asked == []
