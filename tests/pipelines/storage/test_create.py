"""Objects that may be written once."""

from collections.abc import Iterator
from errno import EPERM
from pathlib import Path

import pytest

from pipelines.storage import objects as storage
from pipelines.storage.create import create_bytes
from tests.fault_proxy import Fault, FaultProxy
from tests.pipelines.storage.racing import race_to_create


def test_of_several_writers_at_once_one_succeeds(place: str) -> None:
    made = race_to_create(f"{place}/new/once")
    assert len(made) == 1
    assert storage.read_bytes(f"{place}/new/once") == str(made[0]).encode()
    assert storage.list_files(f"{place}/new") == [f"{place}/new/once"]


def test_one_whose_answer_was_lost_has_succeeded(bucket: str, proxy: FaultProxy) -> None:
    faults: Iterator[Fault] = iter(["lost_answer", "lost_answer"])
    proxy.choose = lambda request: next(faults, None) if request.startswith("PUT") else None
    assert create_bytes(f"{bucket}/lost-answer", b"mine")
    assert proxy.met["lost_answer"] == 2
    assert not create_bytes(f"{bucket}/lost-answer", b"theirs")
    assert storage.read_bytes(f"{bucket}/lost-answer") == b"mine"


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    assert create_bytes(str(tmp_path / "once"), b"first")
    assert not create_bytes(str(tmp_path / "once"), b"second")
    assert (tmp_path / "once").read_bytes() == b"first"
    assert [path.name for path in tmp_path.iterdir()] == ["once"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, bucket: str) -> None:
    (tmp_path / "file").touch()
    for uri in (f"{tmp_path}/file/once", f"{bucket}-not/once"):
        with pytest.raises(OSError, match=r"once|file"):
            create_bytes(uri, b"")
