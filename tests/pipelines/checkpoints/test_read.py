import io
import os
import pickle
from pathlib import Path

import pytest
import torch

from pipelines.checkpoints.read import local_copy, read_model, read_object, write_model
from pipelines.errors.exceptions import UsageError
from pipelines.storage import objects as storage
from upfusion.checkpoint import EMBEDDED, Checkpoint, parse_checkpoint

TINY = EMBEDDED / "tiny.safetensors"
CLIP_FILES = {
    "open_clip_config.json": b"{}",
    "open_clip_model.safetensors": b"weights",
    "tokenizer/deep/vocab.txt": b"words",
}


@pytest.fixture(scope="module")
def tiny() -> Checkpoint:
    return parse_checkpoint(TINY.read_bytes(), "tiny")


# Checkpoints


def test_a_preset_that_ships_trained_is_read_by_name():
    checkpoint, data = read_model("tiny")
    assert checkpoint.name == "tiny"
    assert data == TINY.read_bytes()


def test_a_checkpoint_is_read_from_where_it_lies(place):
    uri = storage.join(place, "models", "mine.safetensors")
    storage.write_bytes(uri, TINY.read_bytes())
    checkpoint, data = read_model(uri)
    assert checkpoint.digest == parse_checkpoint(TINY.read_bytes(), "tiny").digest
    assert data == TINY.read_bytes()


@pytest.mark.parametrize("preset", ["paper", "base"])
def test_a_preset_without_weights_is_refused_with_what_to_do(preset):
    with pytest.raises(UsageError, match=rf"'{preset}'.*weights") as caught:
        read_model(preset)
    assert "(nano, tiny)" in str(caught.value)
    assert "`upfusion convert`" in str(caught.value)


def test_a_model_that_is_nowhere_is_refused_with_what_there_is(place):
    for model in ("huge", storage.join(place, "huge.safetensors")):
        with pytest.raises(UsageError, match=r"\(nano, tiny\)") as caught:
            read_model(model)
        assert f"{model!r}" in str(caught.value)


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(UsageError, match=f"'{tmp_path}'"):
        read_model(str(tmp_path))


def test_a_damaged_checkpoint_is_refused_by_name(place):
    uri = storage.join(place, "mine.safetensors")
    storage.write_bytes(uri, TINY.read_bytes()[:-1])
    with pytest.raises(UsageError, match=r"model '.*/mine\.safetensors': .*truncated"):
        read_model(uri)


class Trap:
    """Pickled, it makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["mine.safetensors", "mine.pth", "mine"])
def test_code_in_a_model_is_not_executed(place, tmp_path, name):
    buffer = io.BytesIO()
    torch.save({"weights": Trap(tmp_path / "sprung")}, buffer)
    for data in (buffer.getvalue(), pickle.dumps(Trap(tmp_path / "sprung"))):
        storage.write_bytes(storage.join(place, name), data)
        with pytest.raises(UsageError, match="checkpoint"):
            read_model(storage.join(place, name))
    assert not (tmp_path / "sprung").exists()
    pickle.loads(data)
    assert (tmp_path / "sprung").is_dir()


def test_a_checkpoint_is_written_once(place, tiny):
    uri = storage.join(place, "models", "mine.safetensors")
    write_model(tiny, uri)
    assert storage.read_bytes(uri) == tiny.to_bytes()
    with pytest.raises(UsageError, match=r"--out.*/mine\.safetensors"):
        write_model(tiny, uri)
    storage.delete(uri)
    write_model(tiny, uri)


def test_where_nothing_can_be_written_is_named(tmp_path, tiny):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=rf"--out {tmp_path}/file/mine\.safetensors"):
        write_model(tiny, f"{tmp_path}/file/mine.safetensors")


def test_one_file_is_read(place):
    uri = storage.join(place, "authors.pth")
    storage.write_bytes(uri, b"weights")
    assert read_object(uri, "SOURCE") == b"weights"


@pytest.mark.parametrize("name", ["nowhere.pth", ""], ids=["nothing", "a folder"])
def test_what_cannot_be_read_is_named_with_its_option(tmp_path, name):
    with pytest.raises(UsageError, match=rf"SOURCE {tmp_path}/{name}"):
        read_object(f"{tmp_path}/{name}", "SOURCE")


# Local copies


def test_without_a_uri_there_is_no_copy():
    with local_copy(None, "--weights") as path:
        assert path is None


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_is_local_is_used_where_it_lies(tmp_path, scheme):
    (tmp_path / "clip").mkdir()
    (tmp_path / "convnext.pth").write_bytes(b"weights")
    for name in ("clip", "convnext.pth"):
        with local_copy(f"{scheme}{tmp_path}/{name}", "--weights") as path:
            assert path == tmp_path / name
        assert path.exists()


def test_a_path_is_one_of_the_folder_that_the_command_runs_in(tmp_path, monkeypatch):
    (tmp_path / "convnext.pth").touch()
    monkeypatch.chdir(tmp_path)
    with local_copy("convnext.pth", "--weights") as path:
        assert path == tmp_path / "convnext.pth"


def test_a_file_in_a_store_is_copied_for_as_long_as_it_is_used(bucket):
    storage.write_bytes(f"{bucket}/models/convnext.pth", b"weights")
    storage.write_bytes(f"{bucket}/models/convnext.pth.md5", b"sum")
    with local_copy(f"{bucket}/models/convnext.pth", "--weights") as path:
        assert path.name == "convnext.pth"
        assert path.read_bytes() == b"weights"
    _assert_gone(path)


@pytest.mark.parametrize("end", ["", "/"])
def test_a_folder_in_a_store_is_copied_with_all_below_it(bucket, end):
    for name, data in CLIP_FILES.items():
        storage.write_bytes(f"{bucket}/encoders/clip/{name}", data)
    storage.write_bytes(f"{bucket}/encoders/clip-large/open_clip_model.safetensors", b"other weights")
    with local_copy(f"{bucket}/encoders/clip{end}", "--text-encoder") as path:
        copied = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
        assert copied == CLIP_FILES
    _assert_gone(path)


def test_an_object_whose_name_leads_out_of_its_folder_is_refused(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    objects = [f"{bucket}/clip/open_clip_config.json", f"{bucket}/clip/../../../evil"]
    monkeypatch.setattr(storage, "list_files", lambda _: objects)
    monkeypatch.setattr(storage, "read_bytes", lambda _: b"{}")
    said = r"--text-encoder .*evil has a part \.\."
    with pytest.raises(UsageError, match=said), local_copy(f"{bucket}/clip", "--text-encoder"):
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_copy_is_gone_after_an_error_too(bucket):
    storage.write_bytes(f"{bucket}/broken.pth", b"weights")
    with pytest.raises(KeyError), local_copy(f"{bucket}/broken.pth", "--weights") as path:
        raise KeyError
    _assert_gone(path)


def test_a_file_in_a_store_is_copied_by_the_other_name_of_the_scheme(bucket):
    storage.write_bytes(f"{bucket}/hadoop.pth", b"weights")
    with local_copy(f"{bucket.replace('s3:', 's3a:')}/hadoop.pth", "--weights") as path:
        assert path.read_bytes() == b"weights"


@pytest.mark.parametrize("option", ["--weights", "--text-encoder"])
def test_where_nothing_lies_is_named_with_its_option(place, option):
    uri = storage.join(place, "nowhere")
    with pytest.raises(UsageError) as caught, local_copy(uri, option):
        pytest.fail("something was there")
    assert f"{option} {uri}" in str(caught.value)


@pytest.mark.usefixtures("object_store")
def test_a_bucket_that_is_not_there_is_named_with_its_option():
    with (
        pytest.raises(UsageError, match=r"--weights s3://no-such-bucket-here/convnext\.pth.*NoSuchB"),
        local_copy("s3://no-such-bucket-here/convnext.pth", "--weights"),
    ):
        pytest.fail("something was there")


def _assert_gone(path: Path) -> None:
    assert not path.exists()
    assert not path.parent.exists()
