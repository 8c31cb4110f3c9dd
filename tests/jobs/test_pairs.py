import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from jobs.command_line import main
from pipelines.archive import sizes
from tests.camera_files import counts, flir_jpeg, visible
from tests.values_in_text import numbers_in


def draw(folder: Path, *names: str, size: tuple[int, int] = (32, 24)) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size).save(folder / name)


@pytest.fixture
def archive(tmp_path) -> Path:
    """Three pairs and something of everything that is no pair."""
    folder = tmp_path / "archive"
    draw(folder, "visible/1.png", "infrared/1.png", "visible/2.png", "infrared/2.png")
    draw(folder, "CT/3.png", "MRI/3.png", size=(256, 200))
    draw(folder, "visible/[4].png")
    (folder / "notes.txt").touch()
    return folder


def pairs(*words: object) -> Result:
    return CliRunner().invoke(main, ["pairs", *map(str, words)], env={"COLUMNS": "200"})


def lines(result: Result) -> list[str]:
    assert (result.exit_code, result.stderr) == (0, "")
    return [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]


def test_pairs_are_counted_by_task_and_size_and_the_rest_is_named(archive):
    count, _, *rows, unpaired, name, others = lines(pairs(archive))
    assert rows == ["ir_visible (infrared + visible) 32x24 32x24 2", "ct_mri (CT + MRI) 256x200 256x200 1"]
    assert name == f"{archive}/visible/[4].png"
    assert [numbers_in(line) for line in (count, unpaired, others)] == [["3"], ["1"], ["1"]]


def test_nothing_is_started_and_nothing_written(archive):
    before = sorted(archive.parent.rglob("*"))
    pairs(archive)
    assert sorted(archive.parent.rglob("*")) == before


def test_flags_choose_the_pairs(archive):
    assert lines(pairs(archive, "--limit", 1))[0] == "1 pair"
    assert "pet_mri (PET + MRI) 256x200 256x200 1" in lines(pairs(archive, "--task", "pet_mri"))
    found = lines(pairs(archive, "--a", "visible/1*", "--b", "infrared/1*"))
    assert found[2] == "ir_visible (infrared + visible) 32x24 32x24 1"


def test_it_is_said_when_only_some_sizes_were_read(archive, monkeypatch):
    assert len(lines(pairs(archive))) == 7
    monkeypatch.setattr(sizes, "SIZES_READ", 2)
    assert "Sizes are of 2 pairs, evenly spread." in lines(pairs(archive))


def test_an_unreadable_image_is_counted_as_such(archive):
    (archive / "visible" / "1.png").write_bytes(b"<html>")
    assert "ir_visible (infrared + visible) unreadable 32x24 1" in lines(pairs(archive))


def test_pairs_of_two_sizes_are_counted(archive):
    draw(archive, "visible/1.png", size=(64, 48))
    output = lines(pairs(archive))
    assert "ir_visible (infrared + visible) 64x48 32x24 1" in output
    assert any(line.startswith("1 of 3 ") and "--resize b-to-a" in line for line in output)


def test_names_of_cameras_are_paired(tmp_path):
    draw(tmp_path, "DJI_0001_T.JPG", "DJI_0001_W.JPG", "DJI_0002_T.JPG", "DJI_0001_Z.JPG")
    output = lines(pairs(tmp_path, "--pair-by", "name"))
    assert output[0] == "1 pair"
    assert f"{tmp_path}/DJI_0002_T.JPG" in output
    assert numbers_in(output[-1]) == ["1"]


def test_radiometric_jpegs_are_counted(tmp_path):
    (tmp_path / "FLIR0001.jpg").write_bytes(flir_jpeg(counts(), photo=visible()))
    assert "ir_visible (infrared + visible) radiometric JPEG radiometric JPEG 1" in lines(pairs(tmp_path))


def test_a_folder_whose_name_begins_with_a_dash(tmp_path, monkeypatch):
    draw(tmp_path, "-dash/vi/1.png", "-dash/ir/1.png")
    monkeypatch.chdir(tmp_path)
    assert lines(pairs("--", "-dash"))[0] == "1 pair"


def test_a_source_without_pairs_is_a_wrong_request(tmp_path):
    result = pairs(tmp_path)
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr


def test_long_names_stay_on_their_line(tmp_path):
    draw(tmp_path, "vi/1.png", "ir/1.png", f"vi/{'long ' * 40}.png")
    result = CliRunner().invoke(main, ["pairs", str(tmp_path)], env={"COLUMNS": "60"})
    assert f"  {tmp_path}/vi/{'long ' * 40}.png" in result.stdout.splitlines()


def test_the_module_runs_as_a_program(archive, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "jobs.pairs", raising=False)
    monkeypatch.setattr(sys, "argv", ["jobs.pairs", str(archive)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("jobs.pairs", run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("3 pairs")


def test_of_many_sizes_the_commonest_are_shown_and_the_rest_counted(archive, monkeypatch):
    monkeypatch.setattr("jobs.pairs.SIZES_SHOWN", 1)
    output = lines(pairs(archive))
    assert "ir_visible (infrared + visible) 32x24 32x24 2" in output
    assert not [line for line in output if "256x200" in line]
    assert "and 1 more size" in output
