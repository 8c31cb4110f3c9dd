"""Folders of this machine, as one of the places that storage.py reads and writes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipelines.storage import objects as storage


def test_a_named_pipe_or_a_device_is_not_waited_on(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for uri in (str(tmp_path / "pipe.png"), "/dev/zero"):
        (error,) = storage.read_many([uri])
        assert isinstance(error, OSError)
        assert "pipe" in str(error)
        with pytest.raises(OSError, match="pipe"):
            storage.read_head(uri, 10)


def test_links_to_nowhere_are_listed_with_their_versions(tmp_path):
    (tmp_path / "1.png").write_bytes(b"1")
    (tmp_path / "broken.png").symlink_to("nowhere.png")
    (tmp_path / "itself.png").symlink_to("itself.png")
    uris = [f"{tmp_path}/{name}.png" for name in ("1", "broken", "itself")]
    assert storage.list_files(str(tmp_path)) == uris
    before = storage.list_versions(str(tmp_path))
    assert list(before) == uris
    (tmp_path / "nowhere.png").write_bytes(b"found")
    assert storage.list_versions(str(tmp_path))[uris[1]] != before[uris[1]]


def test_a_reader_of_a_folder_sees_the_old_bytes_or_the_new_ones(tmp_path):
    uri, size, done = str(tmp_path / "1.bin"), 8 << 20, threading.Event()
    storage.write_bytes(uri, b"0" * size)

    def write() -> None:
        for i in range(40):
            storage.write_bytes(uri, str(i % 10).encode() * size)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        data = storage.read_bytes(uri)
        assert len(data) == size
        assert data.count(data[:1]) == size
    writer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["1.bin"]


def test_a_writer_killed_half_way_leaves_nothing_that_counts(tmp_path):
    uri, old = str(tmp_path / "1.bin"), b"0" * (32 << 20)
    storage.write_bytes(uri, old)
    program = """
import sys
from pipelines.storage import objects as storage
while True:
    storage.write_bytes(sys.argv[1], b"1" * (32 << 20))
"""
    writer = subprocess.Popen([sys.executable, "-c", program, uri], cwd=Path(storage.__file__).parents[2])
    try:
        while not half_written(tmp_path):
            assert writer.poll() is None
            writer.send_signal(signal.SIGCONT)
            time.sleep(0.002)
            writer.send_signal(signal.SIGSTOP)
    finally:
        writer.kill()
        writer.wait()
    assert half_written(tmp_path)
    assert storage.list_files(str(tmp_path)) == [uri]
    assert storage.read_bytes(uri) in (old, b"1" * len(old))


def test_a_write_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        storage.write_bytes(str(tmp_path / "folder"), b"data")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "inside"]


def test_links_in_a_folder_are_followed_and_end(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1.png").write_bytes(b"1")
    top = tmp_path / "top"
    top.mkdir()
    (top / "linked").symlink_to(tmp_path / "real")
    (top / "circle").symlink_to(top)
    (top / "broken.png").symlink_to(tmp_path / "nowhere.png")
    assert storage.list_files(str(top)) == [str(top / "broken.png"), str(top / "linked" / "1.png")]
    assert isinstance(storage.read_many([str(top / "broken.png")])[0], FileNotFoundError)


@pytest.mark.parametrize(
    ("uri", "remote", "absolute"),
    [
        ("/data/x/../y", False, "/data/y"),
        ("file:///data/y/", False, "/data/y"),
        ("local:///data/y", False, "/data/y"),
        ("/data/a://b", False, "/data/a:/b"),
        ("~/y", False, "/home/ann/y"),
        ("s3://bucket/key/", True, "s3://bucket/key"),
        ("gs://bucket/a b/../*", True, "gs://bucket/a b/../*"),
    ],
)
def test_a_uri_is_local_or_remote_and_made_absolute(monkeypatch, uri, remote, absolute):
    monkeypatch.setenv("HOME", "/home/ann")
    assert storage.is_remote(uri) is remote
    assert storage.absolute(uri) == absolute


def test_a_relative_path_starts_in_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    storage.write_bytes("folder/1.bin", b"1")
    assert storage.absolute("folder") == str(tmp_path / "folder")
    assert storage.list_files("folder") == [str(tmp_path / "folder" / "1.bin")]
    assert storage.read_many(["folder/1.bin", f"file://{tmp_path}/folder/1.bin"]) == [b"1", b"1"]


def half_written(folder: Path) -> bool:
    """Tell whether a part file is there (not whether storage would skip it)."""
    return any(path.name != "1.bin" for path in folder.iterdir())
