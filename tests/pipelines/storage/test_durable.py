import errno

import pytest

from pipelines.storage.durable import put_file


def test_a_file_that_cannot_be_written_is_named_and_not_its_temporary_one(tmp_path):
    target = tmp_path / "fused.png"

    def fill(part):
        raise PermissionError(errno.EACCES, "Permission denied", str(part))

    with pytest.raises(PermissionError) as caught:
        put_file(target, fill)
    assert (caught.value.errno, caught.value.filename) == (errno.EACCES, str(target))
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_names_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        put_file(tmp_path / "fused.png", lambda _: (tmp_path / "missing.png").read_bytes())
    assert caught.value.filename == str(tmp_path / "missing.png")
